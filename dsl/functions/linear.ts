// Linear layers, as functions of paths and tensors.
import { axisOf, type Axis } from '../axis/axis.ts';
import type { DType } from '../graph/op.ts';
import { at } from '../origin.ts';
import { withOption, type Params, requireParams } from '../params.ts';
import type { Lacks } from '../axis/argument-types.ts';
import type { Has, Last, Renamed, Without } from '../axis/pattern-types.ts';
import { product } from './shape.ts';
import {
  elementwise,
  refusal,
  renamed,
  requireAxis,
  requireNumber,
  type Float,
  type Tensor,
  requireTensor,
} from '../tensor.ts';
import { requireText, requireOptions } from '../graph/required.ts';

/**
 * x·Wᵀ + b along an axis (the last): `weight` is `o i` and `bias` is `o` at p, as PyTorch stores them.
 * The result has the axis `out` in its place; `out` may be the old name. `size` is checked against the checkpoint, and needed without one.
 * @example linear(p.at('fc'), x, 'f', { size: 32 }) // Tensor<'b n f'>
 */
export function linear<S extends string, D extends DType, O extends string, A extends string = Last<S>>(
  p: Params,
  x: Tensor<S, D>,
  out: O & Lacks<Without<S, A>, O>,
  options: {
    readonly size?: number | undefined;
    readonly bias?: boolean | undefined;
    readonly axis?: (A & Has<S, A>) | undefined;
  } = {},
): Tensor<Renamed<S, A, O>, D> {
  requireParams('linear', p);
  requireOptions('linear', options, '{ size: 32 }');
  const axis = axisOrLast('linear', x, options.axis);
  requireText('linear', out, 'the axis of the result', "linear(p.at('fc'), x, 'f', { size: 32 })");
  if (out !== axis.name && axisOf(x.axes, out) !== undefined)
    throw refusal('linear', `the tensor has another axis '${out}' already`, [x], 'give the result another name');
  const sizes = {
    i: requireNumber('linear', x, axis.name),
    ...(options.size === undefined ? {} : { o: options.size }),
  };
  return at(p.path, () => {
    const weight = withOption('linear', 'o', 'size', () => p.get('weight', 'o i', sizes));
    checkDType('linear', x, weight);
    const summed = out === axis.name ? `${axis.name}_in` : axis.name;
    const named = renamed<string, Float>(
      'linear',
      weight,
      new Map([
        ['o', out],
        ['i', summed],
      ]),
    );
    const rows = renamed<string, D>('linear', x, new Map([[axis.name, summed]]));
    const y = product<Renamed<S, A, O>, D>(
      'linear',
      rows,
      named as Tensor as Tensor<string, D>,
      x.axes.map((a) => (a.name === axis.name ? out : a.name)),
    );
    if (options.bias === false) return y;
    const bias = renamed<string, DType>('linear', p.get('bias', 'o', { o: weight.size('o') }), new Map([['o', out]]));
    return elementwise('add', y, bias);
  });
}

/** A parameter must have the dtype of what it is applied to: nothing is converted unasked. */
export function checkDType(name: string, x: Tensor, weight: Tensor): void {
  if (x.dtype !== weight.dtype)
    throw refusal(
      name,
      `dtypes differ: the tensor is ${x.dtype}, the parameters are ${weight.dtype}`,
      [x, weight],
      `cast the tensor: x.cast('${weight.dtype}')`,
    );
}

/** The axis named, or the last. Throws `OpabiniaError`. */
export function axisOrLast(name: string, x: Tensor, axis: string | undefined): Axis {
  requireTensor(name, x);
  const last = x.axes.at(-1);
  if (axis !== undefined) return requireAxis(name, x, axis);
  if (last === undefined) throw refusal(name, 'the tensor has no axes', [x]);
  return last;
}
