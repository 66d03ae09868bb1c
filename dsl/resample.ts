// Linear maps along one axis, as contractions with a constant matrix: what resizing and uneven pooling are made of.
import type { DType } from './op.ts';
import { constant, typeAttrs } from './ops/source.ts';
import { originOf } from './origin.ts';
import { product } from './shape.ts';
import { renamed, Tensor } from './tensor.ts';

/** `values[o · columns + i]` is the weight of input i in output o. */
export interface Weights {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float64Array;
}

/** Rows of equal weights over ranges `from ≤ i < to`. */
export function average(columns: number, ranges: readonly (readonly [number, number])[]): Weights {
  const values = new Float64Array(ranges.length * columns);
  ranges.forEach(([from, to], row) => { for (let i = from; i < to; i++) values[row * columns + i] = 1 / (to - from); });
  return { rows: ranges.length, columns, values };
}

/** Σ over `axis` of weights·x; the result has the rows in its place. In f32, whatever the dtype of x. */
export function contractAxis<S extends string, D extends DType>(name: string, x: Tensor<S, D>, axis: string, weights: Weights): Tensor<S, D> {
  const inner = `${axis}_in`;
  const wide = renamed<string, 'f32'>(name, x.cast('f32'), new Map([[axis, inner]]));
  const axes = [{ name: axis, size: weights.rows }, { name: inner, size: weights.columns }];
  const matrix = new Tensor<string, 'f32'>(x.builder, x.builder.make(constant, [], { ...typeAttrs(axes, 'f32'), values: weights.values }, originOf([x.node])));
  return product<S, 'f32'>(name, wide, matrix, x.axes.map((a) => a.name)).cast(x.dtype);
}
