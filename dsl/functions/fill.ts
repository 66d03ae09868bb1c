// Tensors of one number, of numbers known while a model is traced, and of positions, in the graph of a tensor at hand: a function needs no trace.
import { fixedElements } from '../axis/axes.ts';
import type { Size } from '../axis/axis.ts';
import type { Keys, One, Sized } from '../axis/argument-types.ts';
import type { Distinct } from '../axis/pattern-types.ts';
import type { DType } from '../graph/op.ts';
import { constant, typeAttrs } from '../ops/source.ts';
import { originOf } from '../origin.ts';
import { axisList, oneAxis, sizedAxes } from '../params.ts';
import { checkNumber, refusal, scalar, Tensor, widened, requireTensor } from '../tensor.ts';
import { positions } from './math.ts';
import type { Sizes } from './pattern-view.ts';
import { requireOptions } from '../graph/required.ts';

/**
 * One number for all elements, in the dtype and the graph of `like`: `torch.full`. Costs nothing: it is a view of the number.
 * Throws `OpabiniaError` for NaN, and for a number that the dtype has not.
 * @example full(x, 0.5, 'q c', { q: 4, c: 8 }) // Tensor<'q c', 'f32'>
 */
export function full<S extends string, D extends DType, Z extends Sizes = Sizes>(
  like: Tensor<string, D>,
  value: number,
  axes: S & Distinct<S>,
  sizes: Z & Sized<S, Keys<Z>>,
): Tensor<S, D> {
  return widened<S, D>('full', scalar('full', like, value), sizedAxes('full', axisList('full', axes), sizes));
}

/**
 * One number on the axes of `x`: `torch.full_like`.
 * @example fullLike(x, 1) // Tensor<'b n d', 'f32'>
 */
export function fullLike<S extends string, D extends DType>(x: Tensor<S, D>, value: number): Tensor<S, D> {
  requireTensor('fullLike', x);
  return widened<S, D>('fullLike', scalar('fullLike', x, value), x.axes);
}

/**
 * 0, 1, 2, … along a new axis, in the graph of `like`: `torch.arange`.
 * @example arange(x, 'q', 6) // Tensor<'q', 'i32'>
 */
export function arange<A extends string>(like: Tensor, axis: A & One<A>, size: Size): Tensor<A, 'i32'> {
  requireTensor('arange', like);
  return positions(like, oneAxis('arange', axis, size), axis);
}

/**
 * Numbers known while a model is traced, in row-major order, in the graph of `like`: `torch.tensor`. Throws `OpabiniaError` for another
 * count of them, and for a number that the dtype has not.
 * @example constantLike(x, [1, 2, 3, 4, 5, 6], 'q c', { q: 2, c: 3 }, 'f32') // Tensor<'q c', 'f32'>
 */
export function constantLike<S extends string, D extends DType, Z extends Sizes = Sizes>(
  like: Tensor,
  values: ArrayLike<number>,
  axes: S & Distinct<S>,
  sizes: Z & Sized<S, Keys<Z>>,
  dtype: D,
): Tensor<S, D> {
  requireTensor('constantLike', like);
  requireOptions('constantLike', values, "constantLike(x, [1, 2], 'q', { q: 2 }, 'f32')", 'the numbers');
  const stated = sizedAxes('constantLike', axisList('constantLike', axes), sizes);
  const count = fixedElements(stated);
  if (count !== values.length)
    throw refusal('constantLike', `${values.length} numbers for ${count} elements of '${axes}'`, [like]);
  const numbers = Float64Array.from(values);
  for (const [i, value] of numbers.entries()) checkNumber('constantLike', value, dtype, [like], ` at ${i}`);
  return new Tensor<S, D>(
    like.builder,
    like.builder.make(constant, [], { ...typeAttrs(stated, dtype), values: numbers }, originOf([like.node])),
  );
}
