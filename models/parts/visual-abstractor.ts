// The visual abstractor of mPLUG-Owl (Ye et al. 2023, arXiv 2304.14178), which Honeybee's "resampler" is too: queries attend to themselves and the picture, and go on from their normed values.
import {
  concat,
  layerNorm,
  linear,
  rearrange,
  repeat,
  silu,
  type Float,
  type Params,
  type Tensor,
} from '../../dsl/index.ts';
import type { Queries } from '../sequence/regions.ts';
import { asTokens, projectedAttention, type Sequence } from './attention.ts';

export interface AbstractorConfig {
  readonly layers: number;
  readonly heads: number;
  readonly intermediate: number;
  /** Of the norm inside the MLP. */
  readonly innerEps: number;
  /** Tables that are added to what keys and queries are made of, not to values (mPLUG-Owl 2). */
  readonly positions?: boolean | undefined;
}

const names = {
  query: 'attention.query',
  key: 'attention.key',
  value: 'attention.value',
  out: 'output.out_proj',
} as const;

/** All layers; `p` holds `encoder.layers.N.crossattention`. */
export function visualAbstractor(p: Params, queries: Queries, picture: Sequence, config: AbstractorConfig): Queries {
  let x = queries;
  for (let i = 0; i < config.layers; i++) x = layer(p.at('encoder', 'layers', i, 'crossattention'), x, picture, config);
  return x;
}

/** h = LN₁(q) + attention(LN₁(q) ; [LN₁(q) ; LN_k(x)]);  h + W₂ LN(silu(W₁ LN₂ h) · W₃ LN₂ h). */
function layer(p: Params, queries: Queries, picture: Sequence, config: AbstractorConfig): Queries {
  const normed = layerNorm(p.at('norm1'), queries);
  const value = concat([asTokens(normed), layerNorm(p.at('normk'), picture)], 'n');
  const [query, key] = config.positions === true ? placed(p.at('attention'), normed, value) : [normed, value];
  const read = projectedAttention(p, query, key, value, { names, bias: true, heads: config.heads });
  const h = normed.add(read);
  const mlp = p.at('output', 'mlp');
  const inner = layerNorm(p.at('output', 'norm2'), h);
  const wide = { size: config.intermediate };
  const gated = silu(linear(mlp.at('w1'), inner, 'c', wide)).mul(linear(mlp.at('w3'), inner, 'c', wide));
  const out = layerNorm(mlp.at('ffn_ln'), gated, { eps: config.innerEps });
  return h.add(linear(mlp.at('w2'), out, 'c', { size: h.size('c') }));
}

/** Queries and keys with the layer's own tables; those of the keys are the queries' and the picture's. */
function placed(p: Params, query: Queries, key: Sequence): readonly [Queries, Sequence] {
  const c = query.size('c');
  const own = p.get('q_pos_embed', 'q c', { q: query.size('q'), c });
  const theirs = p.get('k_pos_embed', 'n c', { n: key.size('n') - query.size('q'), c });
  return [query.add(own), key.add(concat([rearrange(own, 'q c -> n=(q) c'), theirs], 'n'))];
}

/** A parameter `i q c` of learned vectors, for every picture. */
export function learnedTokens(
  p: Params,
  name: string,
  like: Tensor<string, Float>,
  sizes: { readonly q?: number; readonly c?: number } = {},
): Queries {
  const table = p.get(name, 'i q c', { i: 1, ...sizes });
  const [batch] = like.axes;
  return repeat(table.at('i', 0), 'q c -> b q c', { b: batch?.size ?? 1 });
}
