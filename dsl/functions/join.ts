// Tensors put together: end to end along an axis they have, or along a new one.
import type { Equal, Lacks } from '../axis/argument-types.ts';
import { axisOf } from '../axis/axis.ts';
import type * as Types from '../axis/pattern-types.ts';
import type { Has } from '../axis/pattern-types.ts';
import { OpabiniaError } from '../error.ts';
import type { DType } from '../graph/op.ts';
import { concat as concatOp } from '../ops/join.ts';
import { here } from '../origin.ts';
import { apply, refusal, requireAxis, widened, type Tensor, requireTensor } from '../tensor.ts';
import { requireList } from '../graph/required.ts';

/**
 * Tensors laid end to end along an axis that each of them has; all other axes agree in name, order and size.
 * @example concat([x, y], 'n')
 */
export function concat<S extends string, D extends DType, A extends string>(
  xs: readonly Tensor<S, D>[] & Equal<S>,
  axis: A & Has<S, A>,
): Tensor<S, D> {
  return laidEndToEnd('concat', xs, axis);
}

/**
 * Equal-shaped tensors side by side along a new last axis.
 * @example stack([x, y], 'k') // Tensor<'b n d k'>
 */
export function stack<S extends string, D extends DType, A extends string>(
  xs: readonly Tensor<S, D>[] & Equal<S>,
  axis: A & Lacks<S, A>,
): Tensor<Types.Append<S, A>, D> {
  requireList('stack', xs, 'the tensors', "stack([x, y], 'k')");
  for (const x of xs) requireTensor('stack', x);
  const twice = xs.find((x) => axisOf(x.axes, axis) !== undefined);
  if (twice !== undefined)
    throw refusal('stack', `the tensor has the axis '${axis}' already`, [twice], 'use concat, or another name');
  const unit = xs.map((x) => widened<Types.Append<S, A>, D>('stack', x, [...x.axes, { name: axis, size: 1 }]));
  return laidEndToEnd('stack', unit, axis);
}

/** A concatenation for the function `name`. Throws `OpabiniaError` for an empty list, and for axes that differ. */
function laidEndToEnd<S extends string, D extends DType>(
  name: string,
  xs: readonly Tensor<S, D>[],
  axis: string,
): Tensor<S, D> {
  requireList(name, xs, 'the tensors', `${name}([x, y], 'n')`);
  const [first] = xs;
  if (first === undefined)
    throw new OpabiniaError('needs at least one tensor', {
      op: name,
      place: here().place,
      advice: 'the list is empty',
    });
  for (const x of xs) requireAxis(name, x, axis);
  return xs.length === 1 ? first : apply(name, concatOp, xs, { axis });
}
