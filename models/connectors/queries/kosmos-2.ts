// Kosmos-2: a linear map, then one attention of learned queries over the picture and themselves; no norm, no residual.
import { concat, linear } from '../../../dsl/index.ts';
import { asTokens, projectedAttention, tokensOf } from '../../parts/attention.ts';
import { repeat } from '../../../dsl/index.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { tokensOfQueries } from '../visual-tokens.ts';

export interface Kosmos2Config {
  readonly queries: number;
  readonly heads: number;
}

const names = { query: 'q_proj', key: 'k_proj', value: 'v_proj', out: 'out_proj' } as const;

/** Its map has the class token as its first cell, and its tokens are of length 1. */
export const kosmos2 = connector<Kosmos2Config>({
  name: 'kosmos-2',
  title: 'Kosmos-2 latent queries',
  paper: 'arXiv 2306.14824',
  year: 2023,
  source: 'huggingface/transformers models/kosmos2/modeling_kosmos2.py Kosmos2ImageToTextProjection',
  mathematics: ['z = W x', 'y = MHA(Q; [z ; Q])'],
  towers: 'one',
  presets: { 'kosmos-2': { config: { queries: 64, heads: 32 }, maps: [[1, 257, 1024]], width: 2048 } },
  variants: (config, tokens) => [{ ...config, queries: Math.max(1, Math.round(tokens)) }],
  build: (p, maps, { queries, heads }, { width }) => {
    const z = linear(p.at('dense'), tokensOf(onlyMap(maps)), 'c', sized(width));
    const learned = p.get('latent_query', 'q c', { q: queries, c: z.size('c') });
    const query = repeat(learned, 'q c -> b q c', { b: z.sizeOf('b') });
    const context = concat([z, asTokens(query)], 'n');
    return tokensOfQueries(projectedAttention(p.at('x_attn'), query, context, context, { names, bias: true, heads }));
  },
});
