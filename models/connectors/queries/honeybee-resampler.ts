// Honeybee's resampler: the visual abstractor of mPLUG-Owl between two linear maps.
import { linear } from '../../../dsl/index.ts';
import { tokensOf } from '../../parts/attention.ts';
import { learnedTokens, visualAbstractor, type AbstractorConfig } from '../../parts/visual-abstractor.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { joinTokens, queryTokens, tokensOfQueries } from '../visual-tokens.ts';
import { rearrange } from '../../../dsl/index.ts';

export interface HoneybeeResamplerConfig extends AbstractorConfig {
  readonly queries: number;
  /** Width of the queries; with a checkpoint it may be left to that. */
  readonly size?: number | undefined;
  /** Learned tokens behind the results. */
  readonly ends: number;
  /** A learned position for each token of the map. */
  readonly placed: boolean;
}

export const honeybeeResampler = connector<HoneybeeResamplerConfig>({
  name: 'honeybee-resampler',
  title: 'Honeybee resampler',
  paper: 'arXiv 2312.06742',
  year: 2023,
  source: 'khanrc/honeybee honeybee/projectors/resamplers.py HoneybeeVisualProjectorModel',
  mathematics: [
    'z = W_in x;  h = LN q;  h ← h + MHA(h; [h ; LN z])',
    'q ← h + W₂ LN(silu(W₁ LN h) · W₃ LN h), six times',
    'y = [W_out q ; eos]',
  ],
  towers: 'one',
  presets: {
    'honeybee-resampler-7b-m64': {
      config: {
        layers: 6,
        heads: 16,
        intermediate: 2816,
        innerEps: 1e-6,
        queries: 64,
        size: 1024,
        ends: 0,
        placed: false,
      },
      maps: [[16, 16, 1024]],
      width: 4096,
    },
  },
  variants: (config, tokens) => [{ ...config, queries: Math.max(1, Math.round(tokens) - config.ends) }],
  build: (p, maps, config, { width }) => {
    const map = onlyMap(maps);
    const x = tokensOf(map);
    const c = config.size === undefined ? {} : { c: config.size };
    const learned = learnedTokens(p, 'query_tokens', map, { q: config.queries, ...c });
    const picture = config.placed
      ? x.add(p.get('pos_emb', 'i n c', { i: 1, n: x.size('n'), c: x.size('c') }).at('i', 0))
      : x;
    const inner = linear(p.at('visual_input_fc'), picture, 'c', { size: learned.size('c') });
    const results = visualAbstractor(p, learned, inner, config);
    const tokens = tokensOfQueries(linear(p.at('visual_output_fc'), results, 'c', sized(width)));
    if (config.ends === 0) return tokens;
    const ends = learnedTokens(p, 'vit_eos', map, { q: config.ends, c: tokens.tokens.size('e') });
    const marks = queryTokens(rearrange(ends, 'b q c -> b n=(q) e=(c)'));
    return joinTokens([tokens, { ...marks, layout: [{ role: 'end', count: config.ends }] }]);
  },
});
