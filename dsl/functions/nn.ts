// Modules and activations of neural networks, as functions of paths and tensors.
import { axisOf, printAxes, subtractSizes, type Axis, type Size } from '../axis/axis.ts';
import { isFloat, type DType } from '../graph/op.ts';
import { stopGradient } from '../gradient/stop-gradient.ts';
import { rearrange as rearrangeOp } from '../ops/view.ts';
import { at } from '../origin.ts';
import { withOption, type Params } from '../params.ts';
import type { Lacks } from '../axis/argument-types.ts';
import type { Append, Has, Last, Renamed, Without } from '../axis/pattern-types.ts';
import { erf, exp, log, positions, rsqrt, sigmoid, tanh, where } from './math.ts';
import { reduceAxes, product } from './shape.ts';
import {
  apply,
  elementwise,
  refusal,
  renamed,
  requireAxis,
  requireNumber,
  sizeValue,
  widened,
  type Float,
  type Tensor,
} from '../tensor.ts';

// ---- activations ---------------------------------------------------------------------------------------------------

/**
 * x·Φ(x): by erf, by tanh (Hendrycks and Gimpel 2016, §2), or by the sigmoid of 1.702x (OpenAI's CLIP).
 * @example gelu(x, 'tanh')
 */
export function gelu<S extends string, D extends DType>(
  x: Tensor<S, D>,
  form: 'exact' | 'tanh' | 'quick' = 'exact',
): Tensor<S, D> {
  const y: Tensor = x;
  switch (form) {
    case 'exact':
      return y.mul(0.5).mul(erf(y.mul(Math.SQRT1_2)).add(1)) as Tensor<S, D>;
    case 'tanh':
      return y.mul(0.5).mul(tanh(y.add(y.mul(y).mul(y).mul(0.044715)).mul(Math.sqrt(2 / Math.PI))).add(1)) as Tensor<
        S,
        D
      >;
    case 'quick':
      return y.mul(sigmoid(y.mul(1.702))) as Tensor<S, D>;
    default:
      return form satisfies never;
  }
}

/**
 * x·sigmoid(x)
 * @example silu(x)
 */
export function silu<S extends string, D extends DType>(x: Tensor<S, D>): Tensor<S, D> {
  return elementwise('mul', x, sigmoid(x));
}

/**
 * x where x > 0, else 0; NaN stays. Its slope at 0 is 0, as in PyTorch.
 * @example relu(x)
 */
export function relu<S extends string, D extends DType>(x: Tensor<S, D>): Tensor<S, D> {
  return where(elementwise<S, 'bool'>('le', x, 0), 0, x) as Tensor<string, D> as Tensor<S, D>;
}

/**
 * e^x / Σ e^x along an axis, in f32.
 * @example softmax(x, 'd')
 */
export function softmax<S extends string, D extends DType, A extends string>(
  x: Tensor<S, D>,
  axis: A & Has<S, A>,
): Tensor<S, D> {
  requireAxis('softmax', x, axis);
  return inF32('softmax', x, (wide) => {
    const e = exp(shifted('softmax', wide, axis));
    return elementwise('div', e, reduceAxes('sum', e, [axis], 'softmax'));
  });
}

/**
 * log softmax along an axis, in f32.
 * @example logSoftmax(x, 'd')
 */
export function logSoftmax<S extends string, D extends DType, A extends string>(
  x: Tensor<S, D>,
  axis: A & Has<S, A>,
): Tensor<S, D> {
  requireAxis('logSoftmax', x, axis);
  return inF32('logSoftmax', x, (wide) => {
    const low = shifted('logSoftmax', wide, axis);
    return elementwise('sub', low, log(reduceAxes<string, DType>('sum', exp(low), [axis], 'logSoftmax')));
  });
}

/** x − max x along an axis, so that powers of e stay finite. What follows is the same for every shift, so none has a gradient. */
function shifted<S extends string>(name: string, x: Tensor<S>, axis: string): Tensor<S> {
  return elementwise('sub', x, stopGradient(reduceAxes<string, DType>('max', x, [axis], name)));
}

/** Runs `f` on floats in f32 and gives back the dtype of x. */
function inF32<S extends string, D extends DType>(
  name: string,
  x: Tensor<S, D>,
  f: (x: Tensor<S>) => Tensor<S>,
): Tensor<S, D> {
  if (!isFloat(x.dtype)) throw refusal(name, `takes floats, not ${x.dtype}`, [x], "cast it to 'f32'");
  return x.dtype === 'f32' ? (f(x) as Tensor<S, D>) : f(x.cast('f32')).cast(x.dtype);
}

// ---- norms ---------------------------------------------------------------------------------------------------------

/**
 * (x − mean) / √(variance + eps) over axes; the variance is the biased one.
 * @example standardize(x, { axes: ['d'], eps: 1e-5 })
 */
export function standardize<S extends string, D extends DType>(
  x: Tensor<S, D>,
  options: { readonly axes: readonly string[]; readonly eps: number },
): Tensor<S, D> {
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
export function groupNorm<S extends string, D extends DType, A extends string>(
  p: Params,
  x: Tensor<S, D>,
  options: {
    readonly groups: number;
    readonly axis: A & Has<S, A>;
    readonly eps?: number | undefined;
    readonly batch?: readonly string[] | undefined;
  },
): Tensor<S, D> {
  const channels = requireNumber('groupNorm', x, options.axis);
  const { groups } = options;
  if (!Number.isInteger(groups) || groups < 1 || channels % groups !== 0)
    throw refusal(
      'groupNorm',
      `${channels} channels of axis '${options.axis}' do not divide into ${groups} groups`,
      [x],
      'the division must come out',
    );
  const batch =
    options.batch ??
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

function axisOrLast(name: string, x: Tensor, axis: string | undefined): Axis {
  const last = x.axes.at(-1);
  if (axis !== undefined) return requireAxis(name, x, axis);
  if (last === undefined) throw refusal(name, 'the tensor has no axes', [x]);
  return last;
}

// ---- linear --------------------------------------------------------------------------------------------------------

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
  const axis = axisOrLast('linear', x, options.axis);
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

// ---- attention -----------------------------------------------------------------------------------------------------

/** The options of an attention of a query over axes S, keys over K and values over V; without them, any names. */
export interface AttentionOptions<
  S extends string = string,
  K extends string = string,
  V extends string = string,
  Key extends string = string,
  Along extends string = string,
  M extends string = string,
  Causal extends string = string,
> {
  /** The axis of keys and values that is attended over. */
  readonly key: Key & Has<K, Key> & Has<V, Key> & Lacks<S, Key>;
  /** The feature axis of query and key. */
  readonly along: Along & Has<S, Along> & Has<K, Along> & Has<V, Along>;
  /** Default 1/√(size of `along`). */
  readonly scale?: number | undefined;
  /** Scaled scores s become cap · tanh(s / cap) before they are masked (soft-capping: Gemma 2, arXiv 2408.00118 §2). */
  readonly cap?: number | undefined;
  /** bool: true = attend; float: added to the scaled scores. Its axes are among those of the scores. Where nothing may be attended, all keys weigh the same. */
  readonly mask?: (Tensor<M> & Has<Append<S, Key>, M>) | undefined;
  /** Query i attends to key j when j ≤ i + (keys − queries). A name says which axis holds the query positions; true: the last that only the query has. */
  readonly causal?: boolean | (Causal & Has<S, Causal>) | undefined;
}

// Lower than any score, and still finite: a row of nothing but masked keys then has no 0/0.
const masked = -3e38;

/**
 * softmax(scale · query·key) · value, by names: axes that query and key share are batch axes, axes that only the query has are its positions
 * (or, for grouped queries, the group). The result has the query's axes. Scores and softmax are in f32.
 * @example attention(x, rearrange(y, 'b n d -> b t=(n) d'), rearrange(y, 'b n d -> b t=(n) d'), { key: 't', along: 'd' })
 */
export function attention<
  S extends string,
  K extends string,
  V extends string,
  D extends DType,
  Key extends string = string,
  Along extends string = string,
  M extends string = string,
  Causal extends string = string,
>(
  query: Tensor<S, D>,
  key: Tensor<K, D>,
  value: Tensor<V, D>,
  options: AttentionOptions<S, K, V, Key, Along, M, Causal>,
): Tensor<S, D> {
  const over: string = options.key;
  const along: string = options.along;
  for (const [x, axis] of [
    [query, along],
    [key, along],
    [key, over],
    [value, over],
    [value, along],
  ] as const)
    requireAxis('attention', x, axis);
  if (axisOf(query.axes, over) !== undefined)
    throw refusal(
      'attention',
      `the query has the key axis '${over}' too`,
      [query, key],
      renamingAdvice(query, key, over),
    );
  for (const x of [key, value]) {
    const stray = x.axes.find((axis) => axis.name !== over && axisOf(query.axes, axis.name) === undefined);
    if (stray !== undefined)
      throw refusal(
        'attention',
        `the axis '${stray.name}' of ${printAxes(x.axes)} is not among the query's`,
        [query, key, value],
        'share it, reduce it, or widen the query with repeat',
      );
  }
  const scale = options.scale ?? 1 / Math.sqrt(requireNumber('attention', query, along));
  const rows = query.axes.map((axis) => axis.name).filter((name) => name !== along);
  const raw = product<string, DType>('attention', query, key, [...rows, over]);
  const { cap } = options;
  const scaled = raw.cast('f32').mul(scale);
  const capped = cap === undefined ? scaled : tanh(scaled.div(cap)).mul(cap);
  const scores = applyMasks(capped, query, key, { ...options, key: over, along });
  const weights = softmax(scores, over).cast(query.dtype);
  return product(
    'attention',
    weights,
    value as Tensor<string, DType>,
    query.axes.map((axis) => axis.name),
  ) as Tensor<S, D>;
}

/** In self-attention the keys' positions need another name than the queries'. */
function renamingAdvice(query: Tensor, key: Tensor, over: string): string {
  const free = ['t', 'k', 'keys', `${over}_key`].find((name) =>
    [query, key].every((x) => axisOf(x.axes, name) === undefined),
  );
  const pattern = (name: (axis: string) => string): string => key.axes.map((axis) => name(axis.name)).join(' ');
  const renamedKeys = `'${pattern((axis) => axis)} -> ${pattern((axis) => (axis === over ? `${free}=(${over})` : axis))}'`;
  return `give the positions of keys and values another name: rearrange(key, ${renamedKeys}), the same for the values, and { key: '${free}' }`;
}

function applyMasks(
  scores: Tensor<string, 'f32'>,
  query: Tensor,
  key: Tensor,
  options: AttentionOptions,
): Tensor<string, 'f32'> {
  const { mask, causal } = options;
  let result = scores;
  const stray = mask?.axes.find((axis) => axisOf(scores.axes, axis.name) === undefined);
  if (mask !== undefined && stray !== undefined)
    throw refusal(
      'attention',
      `the mask has the axis '${stray.name}', and the scores ${printAxes(scores.axes)} have not`,
      [query, key, mask],
      'name its axes as the query and the key do',
    );
  if (mask !== undefined)
    result =
      mask.dtype === 'bool' ? result.where(mask as Tensor<string, 'bool'>, masked) : result.add(mask.cast('f32'));
  if (causal === undefined || causal === false) return result;
  const keys = requireAxis('attention', key, options.key);
  const own = query.axes.filter((axis) => axis.name !== options.along && axisOf(key.axes, axis.name) === undefined);
  const queries = typeof causal === 'string' ? requireAxis('attention', query, causal) : own.at(-1);
  if (queries === undefined)
    throw refusal(
      'attention',
      'no axis belongs to the query alone, so there is no order of queries',
      [query, key],
      "name the axis of query positions: { causal: 'q' }",
    );
  return result.where(causalMask(scores, queries, keys), masked);
}

/** True where key j ≤ query i + (keys − queries). */
function causalMask(like: Tensor, queries: Axis, keys: Axis): Tensor<string, 'bool'> {
  const late: Size = subtractSizes(keys.size, queries.size);
  const rows: Tensor<string, 'i32'> = positions(like, queries, queries.name);
  const last: Tensor<string, 'i32'> = late === 0 ? rows : elementwise('add', rows, sizeValue('attention', rows, late));
  return elementwise(
    'ge',
    widened<string, 'i32'>('attention', last, [queries, keys]),
    positions(like, keys, keys.name),
  );
}
