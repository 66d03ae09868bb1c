// The attention of one position in a decoder's layer: what selections of tokens rank by.
import {
  einsum,
  linear,
  rearrange,
  reduce,
  rmsNorm,
  slice,
  softmax,
  type Float,
  type Params,
  type Tensor,
} from '../../dsl/index.ts';
import type { LanguageModel } from './decoder.ts';
import { rotate, type Angles } from './rope.ts';

type Hidden = Tensor<'b s e', Float>;

/**
 * Weights with which the token at `position` attends to all up to itself in the layer at p, given what enters the layer: the mean over
 * heads. Projections must be apart, as the Llama family has them.
 */
export function attentionRow(
  p: Params,
  hidden: Hidden,
  position: number,
  { config }: Pick<LanguageModel, 'config'>,
  angles: Angles,
): Tensor<'b s', Float> {
  const { heads, keyValueHeads, headSize, eps, attentionBias: bias } = config;
  const x = rmsNorm(p.at('input_layernorm'), hidden, { eps });
  const own = p.at('self_attn');
  const at = { start: position, size: 1 };
  const here = { cos: slice(angles.cos, 's', at), sin: slice(angles.sin, 's', at) };
  const query = linear(own.at('q_proj'), slice(x, 's', at), 'o', { size: heads * headSize, bias });
  const key = linear(own.at('k_proj'), slice(x, 's', { size: position + 1 }), 'o', {
    size: keyValueHeads * headSize,
    bias,
  });
  const before = {
    cos: slice(angles.cos, 's', { size: position + 1 }),
    sin: slice(angles.sin, 's', { size: position + 1 }),
  };
  const q = rearrange(
    rotate(rearrange(query, 'b s (h d) -> b s h d', { h: heads }), here),
    'b s (g r) d -> b s g r d',
    { g: keyValueHeads },
  ).at('s', 0);
  const k = rearrange(
    rotate(rearrange(key, 'b s (h d) -> b s h d', { h: keyValueHeads }), before),
    'b s h d -> b g=(h) s d',
  );
  const scores = einsum(q, k, 'b g r d, b g s d -> b g r s')
    .cast('f32')
    .mul(1 / Math.sqrt(headSize));
  return reduce(softmax(scores, 's'), 'b g r s -> b s', 'mean');
}
