// Sums by position.
import type { Keys, Scattered, Sized } from '../axis/argument-types.ts';
import { axisOf } from '../axis/axis.ts';
import type { Has, Words } from '../axis/pattern-types.ts';
import type { DType } from '../graph/op.ts';
import { scatter } from '../ops/scatter.ts';
import { axisList } from '../params.ts';
import { apply, refusal, type Tensor, requireTensor } from '../tensor.ts';
import type { Sizes } from './pattern-view.ts';
import { requireOptions } from '../graph/required.ts';

/**
 * The sums of elements by position: element x of `updates` is added to the row that its position names, and rows that no position names
 * are 0. `axes` are those of the result in order: one new axis, whose size `sizes` gives, and axes of the updates; those of the index that
 * are not among them are summed. The adjoint of `gather`: positions are clamped into the axis, and sums are the same bits in every run.
 * PyTorch: `zeros.index_add(0, index, updates)`.
 * @example scatterAdd(x, labels, 'b v d', { v: 10 }) // Tensor<'b v d', 'f32'>
 */
export function scatterAdd<
  S extends string,
  D extends DType,
  I extends string,
  const O extends string,
  Z extends Sizes = Sizes,
>(
  updates: Tensor<S, D>,
  index: Tensor<I, 'i32' | 'u32'> & Has<S, I>,
  axes: O & Scattered<S, I, O>,
  sizes: Z & Sized<string extends S ? string : Exclude<Words<O>, Words<S>>, Keys<Z>>,
): Tensor<O, D> {
  requireTensor('scatterAdd', updates);
  requireTensor('scatterAdd', index);
  const names = axisList('scatterAdd', axes);
  const added = names.filter((name) => axisOf(updates.axes, name) === undefined);
  requireOptions('scatterAdd', sizes, "scatterAdd(x, labels, 'b v d', { v: 10 })", 'the sizes');
  const [axis] = added;
  const size = axis === undefined ? undefined : (sizes as Sizes)[axis];
  if (axis === undefined || added.length > 1)
    throw refusal(
      'scatterAdd',
      `'${axes}' has ${added.length === 0 ? 'no axis that is' : `${added.length} axes that are`} not of the updates`,
      [updates, index],
      'name one new axis, along which the positions count',
    );
  if (size === undefined)
    throw refusal('scatterAdd', `axis '${axis}' has no size`, [updates, index], `give it: { ${axis}: … }`);
  const stray = Object.keys(sizes).find((name) => name !== axis);
  if (stray !== undefined)
    throw refusal('scatterAdd', `a size is given for '${stray}'`, [updates, index], `only '${axis}' is new`);
  return apply('scatterAdd', scatter, [updates, index], { axis, size, axes: names });
}
