// SigLIP's pooling head: a learned probe that attends to all tokens.
import {
  attention,
  einsum,
  gelu,
  layerNorm,
  linear,
  rearrange,
  repeat,
  type Float,
  type Params,
  type Tensor,
} from '../../dsl/index.ts';
import type { Gelu } from '../configs/activation.ts';
import type { Tokens, VitConfig } from './vit.ts';

/** Where a checkpoint keeps its parts. */
export interface PoolingHead {
  readonly probe: (c: number) => Tensor<'c', Float>;
  readonly weights: (c: number) => Weights;
  readonly out: Params;
  readonly norm: Params;
  readonly up: Params;
  readonly down: Params;
}

export interface Projection {
  readonly weight: Tensor<'o c', Float>;
  readonly bias: Tensor<'o', Float>;
}

type Weights = Readonly<Record<'query' | 'key' | 'value', Projection>>;

/** a = attention(probe, tokens); a + mlp(norm a). `mask`: tokens that the probe may see. */
export function poolingHead(
  head: PoolingHead,
  tokens: Tokens,
  config: VitConfig & { readonly activation?: Gelu | undefined },
  mask?: Tensor<'b t', 'bool'>,
): Tensor<'b c', Float> {
  const { width, heads, eps, hidden, activation = 'exact' } = config;
  const weights = head.weights(width);
  const query = einsum(head.probe(width), weights.query.weight, 'c, o c -> o').add(weights.query.bias);
  const probe = repeat(query, '(h d) -> b h d', { h: heads, b: tokens.sizeOf('b') });
  const read = ({ weight, bias }: Projection) =>
    rearrange(einsum(tokens, weight, 'b n c, o c -> b n o').add(bias), 'b n (h d) -> b t=(n) h d', { h: heads });
  const attended = attention(probe, read(weights.key), read(weights.value), { key: 't', along: 'd', mask });
  const a = linear(head.out, rearrange(attended, 'b h d -> b c=(h d)'), 'c', { size: width });
  const normed = layerNorm(head.norm, a, { eps });
  return a.add(
    linear(head.down, gelu(linear(head.up, normed, 'f', { size: hidden }), activation), 'c', { size: width }),
  );
}
