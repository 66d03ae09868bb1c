// What must type-check: connectors written from the outside, generic modules, and tensors whose axes tsc does not know.
import { attention, concat, einsum, gelu, layerNorm, linear, rearrange, reduce, repeat, softmax, stack, type Float, type Has, type Params, type SetLast, type Tensor } from '../../dsl/index.ts';

export type FeatureMap = Tensor<'b h w c', Float>;

/** Pool every region of every encoder, then let each query weigh the encoders against one another. */
export function gatedPool(p: Params, maps: readonly FeatureMap[], { side, width }: { readonly side: number; readonly width: number }): Tensor<'b q e', Float> {
  const pooled = maps.map((map, k) => {
    const regions = rearrange(map, 'b (qh rh) (qw rw) c -> b q=(qh qw) t=(rh rw) c', { qh: side, qw: side });
    return linear(p.at('encoder', k), reduce(regions, 'b q t c -> b q c', 'mean'), 'e', { size: width });
  });
  const tokens: Tensor<'b q e k', Float> = stack(pooled, 'k');
  const gate = softmax(einsum(tokens, p.get('gate', 'e', { e: width }), 'b q e k, e -> b q k'), 'k');
  const mixed = einsum(tokens, gate, 'b q e k, b q k -> b q e');
  return mixed.add(gelu(linear(p.at('out'), layerNorm(p.at('norm'), mixed), 'e', { size: width })));
}

/** A module over any axes. */
export const normed = <S extends string>(p: Params, x: Tensor<S, Float>) => linear(p.at(1), layerNorm(p.at(0), x), 'c', { bias: false });
export const used: Tensor<'b q c', Float> = normed({} as Params, {} as Tensor<'b q d', Float>);

/** Any axes, and the same with the last one replaced. */
export function mlp<S extends string, const O extends string>(p: Params, x: Tensor<S, Float>, out: O, size: number) {
  return linear(p.at('fc2'), gelu(linear(p.at('fc1'), layerNorm(p.at('norm'), x), 'hidden', { size: 4 * size })), out, { size });
}
export const mapped: Tensor<'b h w e', Float> = mlp({} as Params, {} as Tensor<'b h w c', Float>, 'e', 8);
export const rowwise: Tensor<'n c', Float> = mlp({} as Params, {} as Tensor<'n c', Float>, 'c', 8);

/** Any axes, and the same: an annotation is right too. */
export function residual<S extends string>(p: Params, x: Tensor<S, Float>): Tensor<S, Float> {
  const gate = softmax(reduceLast(p, x), 'g');
  return x.add(x).mul(gate.at('g', 0)).add(x.neg());
}
export function reduceLast<S extends string>(p: Params, x: Tensor<S, Float>): Tensor<SetLast<S, 'g'>, Float> {
  return linear(p.at('gate'), x, 'g', { size: 2 });
}
/** A module over an axis that its caller names. */
export function mixed<S extends string, A extends string>(p: Params, x: Tensor<S, Float>, axis: A & Has<S, A>) {
  return linear(p, softmax(x, axis), 'k', { axis, size: 3 });
}
export const over: Tensor<'b k d', Float> = mixed({} as Params, {} as Tensor<'b n d', Float>, 'n');

declare const unknown: Tensor;
declare const x: Tensor<'b n d', 'f32'>;
declare const name: string;
export const back: Tensor<'b n d'> = unknown.named('b n d');
unknown.add(unknown).at('n', 0).size('q');
softmax(unknown, name);
softmax(x, name);
rearrange(x, name);
export const wide: Tensor = x;
export const floats: Tensor<'b n d', Float> = x;
export const heads: Tensor<'b h n d', 'f32'> = rearrange(x, 'b n (h d) -> b h n d', { h: 2 });
export const read: Tensor<'b h n d', 'f32'> = attention(heads, rearrange(x, 'b n (h d) -> b h t=(n) d', { h: 2 }), rearrange(x, 'b n (h d) -> b h t=(n) d', { h: 2 }), { key: 't', along: 'd', causal: true });
export const rows: Tensor<'c b', 'f32'> = reduce(concat([x, x], 'd'), 'b n=(m) d=(c) -> c b', 'sum');
export const repeated: Tensor<'q b n d', 'f32'> = repeat(x, 'b n d -> q b n d', { q: 2 });
