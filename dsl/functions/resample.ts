// Linear maps along one axis, as contractions with a constant matrix: what resizing and uneven pooling are made of.
import type { DType } from '../graph/op.ts';
import { gather } from '../ops/gather.ts';
import { constant, typeAttrs } from '../ops/source.ts';
import { originOf } from '../origin.ts';
import { product } from './shape.ts';
import { renamed, Tensor } from '../tensor.ts';

/** `values[o · columns + i]` is the weight of input i in output o. */
export interface Weights {
  readonly rows: number;
  readonly columns: number;
  readonly values: Float64Array;
}

/** Rows of equal weights over ranges `from ≤ i < to`. */
export function average(columns: number, ranges: readonly (readonly [number, number])[]): Weights {
  const values = new Float64Array(ranges.length * columns);
  ranges.forEach(([from, to], row) => {
    for (let i = from; i < to; i++) values[row * columns + i] = 1 / (to - from);
  });
  return { rows: ranges.length, columns, values };
}

/** Up to this many inputs of one output are read one by one; a matrix of mostly zeros would be multiplied by otherwise. */
const mostTaps = 4;

/** Σ over `axis` of weights·x; the result has the rows in its place. In f32, whatever the dtype of x. */
export function contractAxis<S extends string, D extends DType>(
  name: string,
  x: Tensor<S, D>,
  axis: string,
  weights: Weights,
): Tensor<S, D> {
  const inner = `${axis}_in`;
  const wide = renamed<string, 'f32'>(name, x.cast('f32'), new Map([[axis, inner]]));
  const taps = tapsOf(weights);
  if (taps.length > 0 && taps.length <= mostTaps && taps.length * 2 < weights.columns)
    return renamed<S, 'f32'>(
      name,
      sumOfTaps(wide, axis, inner, taps),
      new Map(),
      x.axes.map((a) => a.name),
    ).cast(x.dtype);
  const axes = [
    { name: axis, size: weights.rows },
    { name: inner, size: weights.columns },
  ];
  const matrix = new Tensor<string, 'f32'>(
    x.builder,
    x.builder.make(constant, [], { ...typeAttrs(axes, 'f32'), values: weights.values }, originOf([x.node])),
  );
  return product<S, 'f32'>(
    name,
    wide,
    matrix,
    x.axes.map((a) => a.name),
  ).cast(x.dtype);
}

/** The k-th non-zero weight of every row, and which input it weighs. */
interface Tap {
  readonly positions: Float64Array;
  readonly weights: Float64Array;
}

function tapsOf({ rows, columns, values }: Weights): readonly Tap[] {
  const used = Array.from({ length: rows }, (_, row) =>
    Array.from({ length: columns }, (_column, i) => i).filter((i) => values[row * columns + i] !== 0),
  );
  const most = used.reduce((n, row) => Math.max(n, row.length), 0);
  // A row with fewer taps reads its last one again, for nothing: 0 times another element could be NaN.
  const at = (row: readonly number[], k: number) => row[Math.min(k, row.length - 1)] ?? 0;
  return Array.from({ length: most }, (_, k) => ({
    positions: Float64Array.from(used, (row) => at(row, k)),
    weights: Float64Array.from(used, (row, o) => (k < row.length ? (values[o * columns + at(row, k)] ?? 0) : 0)),
  }));
}

function sumOfTaps(x: Tensor<string, 'f32'>, axis: string, inner: string, taps: readonly Tap[]): Tensor<string, 'f32'> {
  const [{ builder }, origin] = [x, originOf([x.node])];
  const [rows] = taps.map((tap) => tap.positions.length);
  const along = (values: Float64Array, dtype: 'f32' | 'i32') =>
    builder.make(constant, [], { ...typeAttrs([{ name: axis, size: rows ?? 0 }], dtype), values }, origin);
  const [first, ...rest] = taps.map((tap) => {
    const read = builder.make(gather, [x.node, along(tap.positions, 'i32')], { axis: inner }, origin);
    return new Tensor<string, 'f32'>(builder, read).mul(new Tensor<string, 'f32'>(builder, along(tap.weights, 'f32')));
  });
  if (first === undefined) throw new TypeError('an interpolation without taps');
  return rest.reduce((sum, term) => sum.add(term), first);
}
