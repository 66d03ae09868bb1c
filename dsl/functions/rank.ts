// Order along an axis: the largest, the k largest, all in order, and positions as rows of zeros and a one.
import { axisOf, sizeBound, type Size } from '../axis/axis.ts';
import type { Lacks } from '../axis/argument-types.ts';
import type { Append, Has, Renamed, Without } from '../axis/pattern-types.ts';
import { isFloat, type DType } from '../graph/op.ts';
import { sort as sortOp } from '../ops/sort.ts';
import { oneAxis } from '../params.ts';
import { apply, elementwise, refusal, renamed, requireAxis, widened, type Tensor, requireTensor } from '../tensor.ts';
import { isNaN, positions } from './math.ts';
import { checkOptions } from './options.ts';
import { gather, reduceAxes } from './shape.ts';

/**
 * The position of the largest element, the first of equals; NaN is larger than every number, as in PyTorch.
 * @example argmax(x, 'd') // Tensor<'b n', 'i32'>
 */
export function argmax<S extends string, D extends DType, A extends string>(
  x: Tensor<S, D>,
  axis: A & Has<S, A>,
): Tensor<Without<S, A>, 'i32'> {
  const along = requireAxis('argmax', x, axis);
  const largest = reduceAxes<string, D>('max', x, [axis], 'argmax');
  const equal: Tensor<string, 'bool'> = elementwise('eq', x, largest);
  const hit: Tensor<string, 'bool'> = isFloat(x.dtype) ? equal.or(isNaN(x)) : equal;
  const index = widened<string, 'i32'>('argmax', positions(x, along, axis), x.axes);
  return reduceAxes('min', index.where(hit, sizeBound(along.size)), [axis], 'argmax');
}

/** Values along an axis in another order, and the positions that they had. */
export interface Ranked<S extends string, D extends DType> {
  readonly values: Tensor<S, D>;
  readonly indices: Tensor<S, 'i32'>;
}

/**
 * The k largest elements along an axis in falling order, and their positions; among equals the lower position comes first.
 * NaN is larger than every number, as in PyTorch. `into` names the axis of the result; without it, it keeps its name.
 * Throws `OpabiniaError` where the axis may have fewer than k elements.
 * @example topK(x, 'd', 2, 'k').values // Tensor<'b n k', 'f32'>
 */
export function topK<S extends string, D extends DType, A extends string, I extends string = A>(
  x: Tensor<S, D>,
  axis: A & Has<S, A>,
  k: number,
  into?: I & Lacks<Without<S, A>, I>,
): Ranked<Renamed<S, A, I>, D> {
  requireAxis('topK', x, axis);
  if (!Number.isInteger(k) || k < 1) throw refusal('topK', `k is ${k}`, [x], 'k is a positive whole number');
  return ranked('topK', x, axis, k, true, into);
}

/**
 * The elements along an axis in rising order, or falling where `descending`, and the positions they had. Equal elements keep their order;
 * NaN is larger than every number, as in PyTorch.
 * @example sort(x, 'n', { descending: true }).values // Tensor<'b n d', 'f32'>
 */
export function sort<S extends string, D extends DType, A extends string>(
  x: Tensor<S, D>,
  axis: A & Has<S, A>,
  options: { readonly descending?: boolean } = {},
): Ranked<S, D> {
  const { size } = requireAxis('sort', x, axis);
  checkOptions('sort', x, options, ['descending']);
  return ranked<S, D>('sort', x, axis, size, options.descending === true);
}

/**
 * The positions of the elements along an axis in rising order, or falling where `descending`: those of `sort`.
 * @example argsort(x, 'n') // Tensor<'b n d', 'i32'>
 */
export function argsort<S extends string, D extends DType, A extends string>(
  x: Tensor<S, D>,
  axis: A & Has<S, A>,
  options: { readonly descending?: boolean } = {},
): Tensor<S, 'i32'> {
  const { size } = requireAxis('argsort', x, axis);
  checkOptions('argsort', x, options, ['descending']);
  return apply('argsort', sortOp, [x], { axis, size, descending: options.descending === true });
}

function ranked<S extends string, D extends DType>(
  name: string,
  x: Tensor<string, D>,
  axis: string,
  size: Size,
  descending: boolean,
  into: string = axis,
): Ranked<S, D> {
  if (into !== axis && axisOf(x.axes, into) !== undefined)
    throw refusal(name, `the tensor has the axis '${into}' already`, [x], 'give `into` another name');
  const order = apply<string, 'i32'>(name, sortOp, [x], { axis, size, descending });
  // While values are read, the axis of ranks needs a name that the tensor has not.
  const fresh = freshName(x, `${axis}_rank`);
  const indices = renamed<string, 'i32'>(name, order, new Map([[axis, fresh]]));
  const names = new Map([[fresh, into]]);
  const kept = indices.axes.map((a) => a.name);
  const values = renamed<string, D>(name, gather<string, D, string, string>(x, indices, axis), new Map(), kept);
  return { values: renamed<S, D>(name, values, names), indices: renamed<S, 'i32'>(name, indices, names) };
}

function freshName(x: Tensor, wanted: string): string {
  return axisOf(x.axes, wanted) === undefined ? wanted : freshName(x, `${wanted}_`);
}

/**
 * Rows of zeros with a one at each position: PyTorch's `one_hot`, with the classes along a new last axis and in the dtype asked for.
 * A position outside the classes gives a row of zeros. Throws `OpabiniaError` when the tensor has the axis already.
 * @example oneHot(labels, 'v', 10) // Tensor<'b n v', 'f32'>
 */
export function oneHot<S extends string, A extends string, D extends DType = 'f32'>(
  index: Tensor<S, 'i32' | 'u32'>,
  axis: A & Lacks<S, A>,
  size: Size,
  dtype?: D,
): Tensor<Append<S, A>, D> {
  requireTensor('oneHot', index);
  if (axisOf(index.axes, axis) !== undefined)
    throw refusal('oneHot', `the tensor has the axis '${axis}' already`, [index], 'give the classes another name');
  const classes = oneAxis('oneHot', axis, size);
  const wide = widened<string, 'i32' | 'u32'>('oneHot', index, [...index.axes, classes]);
  const own = positions(index, classes, axis).cast(index.dtype);
  const hit: Tensor<string, 'bool'> = elementwise('eq', wide, own);
  return hit.cast(dtype ?? 'f32') as Tensor<string, DType> as Tensor<Append<S, A>, D>;
}
