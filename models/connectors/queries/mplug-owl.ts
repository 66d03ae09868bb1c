// mPLUG-Owl and mPLUG-Owl 2: the visual abstractor, a linear map, a learned last token.
import { linear } from '../../../dsl/index.ts';
import { tokensOf } from '../../parts/attention.ts';
import { learnedTokens, visualAbstractor, type AbstractorConfig } from '../../parts/visual-abstractor.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { joinTokens, markToken, tokensOfQueries } from '../visual-tokens.ts';

export interface MplugOwlConfig extends AbstractorConfig {
  readonly queries: number;
  /** Width of the queries; with a checkpoint it may be left to that. */
  readonly size?: number | undefined;
  /** Name of the learned queries. */
  readonly learned: 'query_tokens' | 'query_embeds';
  /** Where the layers stand. */
  readonly path: '' | 'abstractor';
}

const sizes = { layers: 6, heads: 16, intermediate: 2816, innerEps: 1e-6, queries: 64, size: 1024 } as const;

/** Its map has the class token as its first cell: 1 × (1 + patches). */
export const mplugOwl = connector<MplugOwlConfig>({
  name: 'mplug-owl',
  title: 'mPLUG-Owl 1 and 2 visual abstractor',
  paper: 'arXiv 2311.04257',
  year: 2023,
  source: 'X-PLUG/mPLUG-Owl mPLUG-Owl2/mplug_owl2/model/visual_encoder.py MplugOwlVisualAbstractorModel',
  mathematics: [
    'h = LN q;  h ← h + MHA(h + P_q; [h ; LN x] + P_k, [h ; LN x])  (P = 0 in Owl 1)',
    'q ← h + W₂ LN(silu(W₁ LN h) · W₃ LN h), six times',
    'y = [W q ; eos]',
  ],
  towers: 'one',
  presets: {
    'mplug-owl2-7b': {
      config: { ...sizes, positions: true, learned: 'query_embeds', path: '' },
      maps: [[1, 1025, 1024]],
      width: 4096,
    },
    'mplug-owl-7b': {
      config: { ...sizes, learned: 'query_tokens', path: 'abstractor' },
      maps: [[1, 257, 1024]],
      width: 4096,
    },
  },
  variants: (config, tokens) => [{ ...config, queries: Math.max(1, Math.round(tokens) - 1) }],
  build: (p, maps, config, { width }) => {
    const map = onlyMap(maps);
    const own = config.path === '' ? p : p.at(config.path);
    const c = config.size === undefined ? {} : { c: config.size };
    const learned = learnedTokens(p, config.learned, map, { q: config.queries, ...c });
    const results = visualAbstractor(own, learned, tokensOf(map), config);
    const tokens = tokensOfQueries(linear(own.at('visual_fc'), results, 'c', sized(width)));
    const eos = own.get('vit_eos', 'i j e', { i: 1, j: 1, e: tokens.tokens.size('e') });
    return joinTokens([tokens, markToken(eos.at('i', 0).at('j', 0), 'end', tokens)]);
  },
});
