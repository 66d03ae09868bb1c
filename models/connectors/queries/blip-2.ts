// BLIP-2: 32 queries through a Q-Former, a linear map to the language model.
import { layerNorm, linear } from '../../../dsl/index.ts';
import { tokensOf } from '../../parts/attention.ts';
import { qFormer, type QFormerConfig } from '../../parts/qformer.ts';
import { learnedTokens } from '../../parts/visual-abstractor.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { tokensOfQueries } from '../visual-tokens.ts';

export interface Blip2Config extends QFormerConfig {
  readonly queries: number;
  /** Width of the queries; with a checkpoint it may be left to that. */
  readonly size?: number | undefined;
}

/** BERT base, as all released Q-Formers. */
export const qFormerBase = {
  queries: 32,
  size: 768,
  layers: 12,
  heads: 12,
  intermediate: 3072,
  crossEvery: 2,
  eps: 1e-12,
} as const;

/** Its map has the class token among its cells: 1 × 257 of a tower at 224 pixels. */
export const blip2 = connector<Blip2Config>({
  name: 'blip-2',
  title: 'BLIP-2 Q-Former',
  paper: 'arXiv 2301.12597',
  year: 2023,
  source: 'huggingface/transformers models/blip_2/modeling_blip_2.py Blip2QFormerModel',
  mathematics: ['q ← LN(Q); 12 ×: q ← LN(q + SA(q)), every second: q ← LN(q + XA(q; x)), q ← LN(q + MLP q)', 'y = W q'],
  towers: 'one',
  presets: {
    'blip2-opt-2.7b': { config: qFormerBase, maps: [[1, 257, 1408]], width: 2560 },
    'blip2-flan-t5-xl': { config: qFormerBase, maps: [[1, 257, 1408]], width: 2048 },
  },
  variants: (config, tokens) => [{ ...config, queries: Math.max(1, Math.round(tokens)) }],
  build: (p, maps, config, { width, inspect }) => {
    const map = onlyMap(maps);
    const { queries: q, size, eps } = config;
    const learned = learnedTokens(p, 'query_tokens', map, { q, ...(size === undefined ? {} : { c: size }) });
    const start = layerNorm(p.at('qformer', 'layernorm'), learned, { eps });
    const results = qFormer(p.at('qformer', 'encoder'), start, tokensOf(map), config);
    inspect?.('queries', results);
    return tokensOfQueries(linear(p.at('language_projection'), results, 'c', sized(width)));
  },
});
