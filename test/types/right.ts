// What must type-check: connectors written from the outside, generic modules, and tensors whose axes tsc does not know.
import { abs, arange, attention, concat, crossEntropy, einsum, full, gelu, gridSample, layerNorm, linear, linearCrossEntropy, oneHot, rearrange, reduce, repeat, sampleBilinear, scatterAdd, softmax, stack, standardize, where, window, type Float, type Has, type Params, type SetLast, type Tensor } from '../../dsl/index.ts';

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

/** Checks of labels, masks, windows and sums by position know nothing inside a module over any axes, and pass. */
/** Helpers of any axes and any float: `y.add(y)` of the two type parameters agrees. */
export const softsign = <S extends string, D extends Float>(y: Tensor<S, D>): Tensor<S, D> => y.div(abs(y).add(1));
export const around = <S extends string, D extends Float>(y: Tensor<S, D>, f: (y: Tensor<S, D>) => Tensor<S, D>): Tensor<S, D> => y.add(f(y));
export const widest = <S extends string, D extends Float, T extends string>(y: Tensor<S, D>, z: Tensor<T, D> & Has<S, T>): Tensor<S, D> => y.max(z).min(3);
softsign(around(x, softsign)).named('b n d');

export function generic<S extends string, A extends string>(x: Tensor<S, 'f32'>, axis: A & Has<S, A>, ids: Tensor<S, 'i32'>, labels: Tensor<string, 'i32'>) {
  window(x, axis, { into: ['position', 'tap'], size: 2 });
  scatterAdd(x, ids, 'v', { v: 3 });
  standardize(x, { axes: [axis], eps: 1e-5 });
  crossEntropy(oneHot(ids, 'class', 7), ids, { axis: 'class' });
  return where(x.gt(0), x, crossEntropy(x, labels, { axis }));
}
declare const ids: Tensor<'b n', 'i32'>;
declare const image: Tensor<'b h w c', 'f32'>;
declare const points: Tensor<'q r', 'f32'>;
generic(x, 'n', {} as Tensor<'b n d', 'i32'>, unknown as Tensor<string, 'i32'>);
generic(unknown as Tensor<string, 'f32'>, name, unknown as Tensor<string, 'i32'>, ids);
export const losses: readonly Tensor<'', 'f32'>[] = [crossEntropy(x, ids, { axis: 'd' }), crossEntropy(x, rearrange(ids, 'b n -> n b'), { axis: 'd' }), crossEntropy(x, unknown as Tensor<string, 'i32'>, { axis: name }), linearCrossEntropy(x, {} as Tensor<'d v', 'f32'>, ids)];
export const hot: Tensor<'b n v', 'f32'> = oneHot(ids, 'v', 3);
export const taps: Tensor<'b p n d', 'f32'> = window(x, 'n', { into: ['p', 'n'], size: 2 });
export const chosen: Tensor<'b n d', 'f32'> = where(ids.gt(0), {} as Tensor<'d', 'f32'>, x);
export const summed: Tensor<'b v d', 'f32'> = scatterAdd(x, ids, 'b v d', { v: 3 });
export const sampled: Tensor<'q r b c', 'f32'> = sampleBilinear(image, points, points.at('q', 0));
export const gridded: Tensor<'b q c', 'f32'> = gridSample(image, {} as Tensor<'b q xy', 'f32'>);
export const filled: Tensor<'q k', 'f32'> = full(x, 1, 'q k', { q: 2, k: 3 });
export const counted: Tensor<'q', 'i32'> = arange(x, 'q', 3);
