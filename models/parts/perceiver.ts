// Flamingo's perceiver resampler (Alayrac et al. 2022, arXiv 2204.14198, section 3.1.1), as OpenFlamingo and those that copy it have it.
import { concat, layerNorm, linear, repeat, slice, type Params, type Tensor } from '../../dsl/index.ts';
import type { Queries } from '../sequence/regions.ts';
import { asTokens, headAttention, type Sequence } from './attention.ts';
import { activate } from './mlp.ts';

export interface PerceiverAttention {
  readonly heads: number;
  /** Channels of a head. */
  readonly headSize: number;
  readonly mask?: Tensor | undefined;
}

/** W_o softmax(q kᵀ) v without biases: `to_q` of the queries, `to_kv` of the keys (keys in its first half, values in its second), `to_out`. */
export function packedKeyValueAttention(
  p: Params,
  query: Queries,
  context: Sequence,
  { heads, headSize, mask }: PerceiverAttention,
): Queries {
  const inner = heads * headSize;
  const both = linear(p.at('to_kv'), context, 'c', { size: 2 * inner, bias: false });
  const [key, value] = [slice(both, 'c', { size: inner }), slice(both, 'c', { start: inner })];
  const q = linear(p.at('to_q'), query, 'c', { size: inner, bias: false });
  return linear(p.at('to_out'), headAttention(q, key, value, { heads, mask }), 'c', {
    size: query.size('c'),
    bias: false,
  });
}

/** Latents attend to [x ; latents], both normed: what is added to them. */
export function perceiverAttention(p: Params, latents: Queries, x: Sequence, options: PerceiverAttention): Queries {
  const normed = layerNorm(p.at('norm_latents'), latents);
  const context = concat([layerNorm(p.at('norm_media'), x), asTokens(normed)], 'n');
  return packedKeyValueAttention(p, normed, context, options);
}

/** W₂ gelu(W₁ LN(x)) without biases; `expansion` times as wide inside. */
export function perceiverFeedForward(p: Params, x: Queries, expansion: number): Queries {
  const size = x.size('c');
  const inner = linear(p.at(1), layerNorm(p.at(0), x), 'c', { size: expansion * size, bias: false });
  return linear(p.at(3), activate(inner, 'gelu'), 'c', { size, bias: false });
}

export interface PerceiverConfig extends PerceiverAttention {
  readonly depth: number;
  readonly latents: number;
  /** Width inside the MLP over the width of the latents. */
  readonly expansion: number;
}

/** `depth` times attention and MLP, both added to the latents; a last norm. */
export function perceiver(p: Params, x: Sequence, config: PerceiverConfig): Queries {
  const learned = p.get('latents', 'q c', { q: config.latents, c: x.size('c') });
  let latents: Queries = repeat(learned, 'q c -> b q c', { b: x.sizeOf('b') });
  for (let i = 0; i < config.depth; i++) {
    const layer = p.at('layers', i);
    latents = latents.add(perceiverAttention(layer.at(0), latents, x, config));
    latents = latents.add(perceiverFeedForward(layer.at(1), latents, config.expansion));
  }
  return layerNorm(p.at('norm'), latents);
}
