// Tensors of one number, and positions, in the graph of a tensor at hand: a function that has no trace needs none.
import type { Size } from '../axis/axis.ts';
import type { DType } from '../graph/op.ts';
import { axisList, sizedAxes } from '../params.ts';
import { scalar, widened, type Tensor } from '../tensor.ts';
import { positions } from './math.ts';
import type { Sizes } from './shape.ts';

/**
 * One number for all elements, in the dtype and the graph of `like`: `torch.full`. Costs nothing: it is a view of the number.
 * Throws `OpabiniaError` for NaN, and for a number that the dtype has not.
 * @example const bias = full(x, 0.5, 'q c', { q: 4, c: 8 })
 */
export function full<S extends string, D extends DType>(
  like: Tensor<string, D>,
  value: number,
  axes: S,
  sizes: Sizes,
): Tensor<S, D> {
  return widened<S, D>('full', scalar('full', like, value), sizedAxes('full', axisList('full', axes), sizes));
}

/**
 * One number on the axes of `x`: `torch.full_like`.
 * @example const ones = fullLike(x, 1)
 */
export function fullLike<S extends string, D extends DType>(x: Tensor<S, D>, value: number): Tensor<S, D> {
  return widened<S, D>('fullLike', scalar('fullLike', x, value), x.axes);
}

/**
 * 0, 1, 2, … along a new axis, in the graph of `like`: `torch.arange`.
 * @example const place = arange(x, 'n', x.sizeOf('n'))
 */
export function arange<A extends string>(like: Tensor, axis: A, size: Size): Tensor<A, 'i32'> {
  const [made] = sizedAxes('arange', axisList('arange', axis), { [axis]: size });
  return positions(like, made ?? { name: axis, size }, axis);
}
