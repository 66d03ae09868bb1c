// Norms, as functions of paths and tensors.
import type { Axis } from '../axis/axis.ts';
import type { DType } from '../graph/op.ts';
import { rearrange as rearrangeOp } from '../ops/view.ts';
import { at } from '../origin.ts';
import type { Params } from '../params.ts';
import type { Has, Last } from '../axis/pattern-types.ts';
import { rsqrt } from './math.ts';
import { reduceAxes } from './shape.ts';
import { apply, elementwise, refusal, requireAxis, requireNumber, type Tensor, requireTensor } from '../tensor.ts';
import { inF32 } from './in-f32.ts';
import { axisOrLast } from './linear.ts';
import { requireFields, requireOptions } from '../graph/required.ts';
import { requireParams } from '../params.ts';

/**
 * (x − mean) / √(variance + eps) over axes; the variance is the biased one.
 * @example standardize(x, { axes: ['d'], eps: 1e-5 })
 */
export function standardize<S extends string, D extends DType, A extends string>(
  x: Tensor<S, D>,
  options: { readonly axes: readonly (A & Has<S, A>)[]; readonly eps: number },
): Tensor<S, D> {
  requireTensor('standardize', x);
  requireFields(
    'standardize',
    options,
    { axes: 'object', eps: 'number' },
    "standardize(x, { axes: ['d'], eps: 1e-5 })",
  );
  for (const axis of options.axes) requireAxis('standardize', x, axis);
  return inF32('standardize', x, (wide) => standardized('standardize', wide, options.axes, options.eps));
}

function standardized<S extends string>(name: string, x: Tensor<S>, axes: readonly string[], eps: number): Tensor<S> {
  const centred = elementwise<S, DType>('sub', x, reduceAxes('mean', x, axes, name));
  const variance = reduceAxes<string, DType>('mean', elementwise('mul', centred, centred), axes, name);
  return elementwise('mul', centred, rsqrt(variance.add(eps)));
}

/**
 * Layer normalisation along one axis (the last): parameters `weight` and `bias` at p; statistics in f32.
 * @example layerNorm(p.at('norm'), x)
 */
export function layerNorm<S extends string, D extends DType, A extends string = Last<S>>(
  p: Params,
  x: Tensor<S, D>,
  options: {
    readonly eps?: number | undefined;
    readonly axis?: (A & Has<S, A>) | undefined;
    readonly bias?: boolean | undefined;
  } = {},
): Tensor<S, D> {
  requireParams('layerNorm', p);
  requireOptions('layerNorm', options, '{ axis: … }');
  const axis = axisOrLast('layerNorm', x, options.axis);
  return at(p.path, () =>
    inF32('layerNorm', x, (wide) => {
      const y = standardized('layerNorm', wide, [axis.name], options.eps ?? 1e-5);
      return affine(p, y, axis, options.bias ?? true);
    }),
  );
}

/**
 * x / √(mean x² + eps) · weight along one axis (the last); in f32. With `unitOffset` the factor is 1 + weight, as Gemma stores it.
 * @example rmsNorm(p.at('norm'), x, { eps: 1e-6 })
 */
export function rmsNorm<S extends string, D extends DType, A extends string = Last<S>>(
  p: Params,
  x: Tensor<S, D>,
  options: {
    readonly eps?: number | undefined;
    readonly axis?: (A & Has<S, A>) | undefined;
    readonly unitOffset?: boolean | undefined;
  } = {},
): Tensor<S, D> {
  requireParams('rmsNorm', p);
  requireOptions('rmsNorm', options, '{ axis: … }');
  const axis = axisOrLast('rmsNorm', x, options.axis);
  return at(p.path, () =>
    inF32('rmsNorm', x, (wide) => {
      const square = reduceAxes<string, DType>('mean', elementwise('mul', wide, wide), [axis.name], 'rmsNorm');
      return affine(
        p,
        elementwise('mul', wide, rsqrt(square.add(options.eps ?? 1e-6))),
        axis,
        false,
        options.unitOffset,
      );
    }),
  );
}

/**
 * Group normalisation: statistics over a group of channels and every axis but the batch's (`batch`: the first axis).
 * Parameters `weight` and `bias` at p, one per channel. Throws when the channels do not divide by `groups`.
 * @example groupNorm(p.at('norm'), image, { groups: 2, axis: 'c' })
 */
export function groupNorm<S extends string, D extends DType, A extends string, const B extends string = string>(
  p: Params,
  x: Tensor<S, D>,
  options: {
    readonly groups: number;
    readonly axis: A & Has<S, A>;
    readonly eps?: number | undefined;
    readonly batch?: readonly (B & Has<S, B>)[] | undefined;
  },
): Tensor<S, D> {
  requireParams('groupNorm', p);
  requireTensor('groupNorm', x);
  requireOptions('groupNorm', options, "groupNorm(p.at('norm'), x, { groups: 2, axis: 'c' })");
  const channels = requireNumber('groupNorm', x, options.axis);
  const { groups } = options;
  if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0)
    throw refusal(
      'groupNorm',
      `${channels} channels of axis '${options.axis}' do not divide into ${groups} groups`,
      [x],
      'the division must come out',
    );
  const batch: readonly string[] =
    options.batch?.map((axis) => requireAxis('groupNorm', x, axis).name) ??
    x.axes
      .slice(0, 1)
      .map((axis) => axis.name)
      .filter((name) => name !== options.axis);
  const [outer, inner] = [`${options.axis}_group`, `${options.axis}_each`];
  return at(p.path, () =>
    inF32('groupNorm', x, (wide) => {
      const sizes = {
        ...Object.fromEntries(x.axes.map((axis) => [axis.name, axis.size])),
        [outer]: groups,
        [inner]: channels / groups,
      };
      const split = x.axes.map((axis) => (axis.name === options.axis ? [outer, inner] : [axis.name]));
      const grouped = apply<string, DType>('groupNorm', rearrangeOp, [wide], {
        split,
        merge: split.flat().map((name) => ({ name, parts: [name] })),
        sizes,
      });
      const over = grouped.axes.map((axis) => axis.name).filter((name) => name !== outer && !batch.includes(name));
      const y = standardized('groupNorm', grouped, over, options.eps ?? 1e-5);
      const joined = apply<S, DType>('groupNorm', rearrangeOp, [y], {
        split: split.flat().map((name) => [name]),
        merge: x.axes.map((axis, i) => ({ name: axis.name, parts: split[i] ?? [] })),
        sizes,
      });
      return affine(p, joined, { name: options.axis, size: channels }, true);
    }),
  );
}

/** y · weight + bias along an axis, in the dtype of y; y · (1 + weight) + bias with `unitOffset`. */
function affine<S extends string>(p: Params, y: Tensor<S>, axis: Axis, bias: boolean, unitOffset = false): Tensor<S> {
  const sizes = typeof axis.size === 'number' ? { [axis.name]: axis.size } : {};
  const weight = p.get<string>('weight', axis.name, sizes).cast(y.dtype);
  const scaled = elementwise<S, DType>('mul', y, unitOffset ? weight.add(1) : weight);
  return bias ? elementwise('add', scaled, p.get<string>('bias', axis.name, sizes).cast(y.dtype)) : scaled;
}
