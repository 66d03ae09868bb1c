// Idefics's perceiver: latents attend to [x ; latents], an MLP with ReLU; queries and keys may be normed within each head.
import { concat, layerNorm, linear, repeat, type Params } from '../../dsl/index.ts';
import type { Queries } from '../sequence/regions.ts';
import { asTokens, projectedAttention, projections, type Sequence } from './attention.ts';
import { activate } from './mlp.ts';

export interface IdeficsPerceiver {
  readonly latents: number;
  readonly depth: number;
  readonly heads: number;
  readonly headSize: number;
  /** Whether queries and keys are normed within each head. */
  readonly headNorms: boolean;
}

/** l ← l + MHA(LN l; [LN x ; LN l]), l ← l + W₂ relu(W₁ LN l), `depth` times, and a last norm. */
export function ideficsLatents(p: Params, x: Sequence, config: IdeficsPerceiver): Queries {
  const { latents: q, depth, heads, headSize } = config;
  const c = x.size('c');
  let latents: Queries = repeat(p.get('latents', 'q c', { q, c }), 'q c -> b q c', { b: x.sizeOf('b') });
  for (let i = 0; i < depth; i++) {
    const own = p.at('blocks', i, 0);
    const normed = layerNorm(own.at('latents_layer_norm'), latents);
    const context = concat([layerNorm(own.at('context_layer_norm'), x), asTokens(normed)], 'n');
    const read = projectedAttention(own, normed, context, context, {
      names: { ...projections, out: 'output_proj' },
      bias: false,
      heads,
      inner: heads * headSize,
      norm: config.headNorms
        ? (of, y) => layerNorm(own.at(of === 'query' ? 'q_layer_norm' : 'k_layer_norm'), y)
        : undefined,
    });
    latents = latents.add(read);
    const mlp = p.at('blocks', i, 1);
    const inner = linear(mlp.at('fc'), layerNorm(mlp.at('ln'), latents), 'c', { size: 4 * c, bias: false });
    latents = latents.add(linear(mlp.at('c_proj'), activate(inner, 'relu'), 'c', { size: c, bias: false }));
  }
  return layerNorm(p.at('layer_norm'), latents);
}
