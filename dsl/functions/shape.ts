// Functions that change axes: patterns, ranges, windows, and the product of tensors.
import {
  addSizes,
  axisOf,
  divideSize,
  printAxes,
  printSize,
  sizeLeast,
  sizesEqual,
  subtractSizes,
  type Axis,
  type Size,
} from '../axis/axis.ts';
import { isFloat, type DType } from '../graph/op.ts';
import { contract } from '../ops/contract.ts';
import { reduceMax, reduceMin, sum } from '../ops/reduce.ts';
import { gather as gatherOp } from '../ops/gather.ts';
import { flip as flipOp, pad as padOp, slice as sliceOp, window as windowOp } from '../ops/view.ts';
import { atOperands } from '../origin.ts';
import { parsePattern, patternError } from '../axis/pattern.ts';
import type * as Types from '../axis/pattern-types.ts';
import type { Keys, Lacks } from '../axis/argument-types.ts';
import type { Gathered, Has } from '../axis/pattern-types.ts';
import {
  apply,
  checkNumber,
  elementwise,
  ordered,
  refusal,
  requireAxis,
  sizeValue,
  widened,
  type Agree,
  Tensor,
  requireTensor,
} from '../tensor.ts';

import {
  oneSided,
  bind,
  bindSide,
  checkKept,
  checkNew,
  checkUnchanged,
  sizeIn,
  view,
  toParts,
  merged,
  type Sizes,
} from './pattern-view.ts';
import { roleOf, type Node } from '../graph/graph.ts';
import { requireFields, requireList } from '../graph/required.ts';
import { checkChoice, checkOptions } from './options.ts';

/**
 * Splits, permutes, renames and merges axes: `rearrange(x, 'b (h w) c -> b h w c', { h: 24 })`.
 * In a group, one size may be left out. Makes one view, and none when nothing changes.
 * Throws `OpabiniaError` for a pattern that does not fit, or a division that does not come out.
 * @example rearrange(x, 'b n (h k) -> b h n k', { h: 2 })
 */
export function rearrange<const P extends string, S extends string, D extends DType, Z extends Sizes = {}>(
  x: Tensor<S, D>,
  pattern: P & Types.Rearrange<P, S, Keys<Z>>,
  sizes?: Z,
): Tensor<Types.Right<P>, D> {
  requireTensor('rearrange', x);
  return atOperands([x.node], () => {
    const parsed = oneSided('rearrange', pattern, x);
    const known = bind('rearrange', parsed, x, sizes ?? {});
    checkUnchanged('rearrange', parsed);
    return view('rearrange', x, parsed, known);
  });
}

/**
 * New axes along which the value is the same: `repeat(x, 'c -> b q c', { b: 2, q: 576 })`. Costs nothing: it is a view.
 * @example repeat(x, 'b n d -> b q n d', { q: 4 })
 */
export function repeat<const P extends string, S extends string, D extends DType, Z extends Sizes = {}>(
  x: Tensor<S, D>,
  pattern: P & Types.Repeat<P, S, Keys<Z>>,
  sizes?: Z,
): Tensor<Types.Right<P>, D> {
  requireTensor('repeat', x);
  return atOperands([x.node], () => {
    const parsed = oneSided('repeat', pattern, x);
    const known = bind('repeat', parsed, x, sizes ?? {});
    checkKept('repeat', parsed, 'use reduce');
    const left = new Set(parsed.inputs[0]?.flatMap((item) => item.parts));
    for (const item of parsed.output) {
      for (const part of item.parts) {
        const size = sizes?.[part];
        if (left.has(part)) continue;
        if (size === undefined)
          throw patternError(
            'repeat',
            pattern,
            item.offset,
            item.length,
            `the new axis '${part}' has no size`,
            `give it: { ${part}: 2 }`,
          );
        known.set(part, size);
      }
    }
    // Elementary axes first, then the broadcast, then the merge; a step that changes nothing makes no node.
    const flat = toParts('repeat', x, parsed, known);
    const parts = parsed.output.flatMap((item) => item.parts);
    const wide = widened<string, D>(
      'repeat',
      ordered(flat, parts),
      parts.map((name) => ({ name, size: sizeIn(known, name) })),
    );
    return merged('repeat', wide, parsed.output, known);
  });
}

/**
 * Reduces away the axes that the right side leaves out: `reduce(x, 'b h w c -> b c', 'mean')`.
 * `max` and `min` let NaN win. `mean` of f16 accumulates in f32.
 * @example reduce(x, 'b n d -> b d', 'mean')
 */
export function reduce<const P extends string, S extends string, D extends DType, Z extends Sizes = {}>(
  x: Tensor<S, D>,
  pattern: P & Types.Reduce<P, S, Keys<Z>>,
  by: 'sum' | 'mean' | 'max' | 'min',
  sizes?: Z,
): Tensor<Types.Right<P>, D> {
  requireTensor('reduce', x);
  return atOperands([x.node], () => {
    checkChoice('reduce', x, 'the reduction', by, ['sum', 'mean', 'max', 'min']);
    const parsed = oneSided('reduce', pattern, x);
    const known = bind('reduce', parsed, x, sizes ?? {});
    checkNew('reduce', parsed);
    const kept = parsed.output.flatMap((item) => item.parts);
    const flat = toParts('reduce', x, parsed, known);
    const reduced = reduceAxes(
      by,
      flat,
      flat.axes.map((axis) => axis.name).filter((name) => !kept.includes(name)),
    );
    return merged('reduce', ordered(reduced, kept), parsed.output, known);
  });
}

/** Reduces the named axes away, for the function `name`. Throws `OpabiniaError` for a mean of whole numbers or over nothing. */
export function reduceAxes<S extends string, D extends DType>(
  by: 'sum' | 'mean' | 'max' | 'min',
  x: Tensor<string, D>,
  axes: readonly string[],
  name = 'reduce',
): Tensor<S, D> {
  if (axes.length === 0) return new Tensor<S, D>(x.builder, x.node);
  if (by !== 'mean') return apply(name, by === 'sum' ? sum : by === 'max' ? reduceMax : reduceMin, [x], { axes });
  if (!isFloat(x.dtype)) throw refusal(name, `a mean of ${x.dtype} is not ${x.dtype}`, [x], "cast it to 'f32' first");
  if (x.dtype === 'f16') return reduceAxes<S, 'f32'>('mean', x.cast('f32'), axes, name).cast(x.dtype);
  const total = apply<S, D>(name, sum, [x], { axes });
  return divideByCount(
    name,
    total,
    axes.map((axis) => requireAxis(name, x, axis)),
  );
}

/** `total` over the number of elements along the axes: times 1/n, or divided by the extent of a symbolic axis. */
function divideByCount<S extends string, D extends DType>(
  name: string,
  total: Tensor<S, D>,
  axes: readonly Axis[],
): Tensor<S, D> {
  const empty = axes.find((axis) => sizeLeast(axis.size) < 1);
  if (empty !== undefined)
    throw refusal(name, `axis '${empty.name}' may be empty, and an empty mean has no value`, [total]);
  const count = axes.reduce((product, axis) => product * (typeof axis.size === 'number' ? axis.size : 1), 1);
  const symbolic = axes.filter((axis) => typeof axis.size !== 'number');
  const scaled: Tensor = count === 1 ? total : total.mul(1 / count);
  return symbolic.reduce((value, axis) => value.div(sizeValue(name, value, axis.size)), scaled) as Tensor<S, D>;
}

/**
 * The product of two tensors, summed over every axis that the right side leaves out: `einsum(x, w, 'b n i, o i -> b n o')`.
 * Sums accumulate in f32. Throws `OpabiniaError` for sizes or dtypes that differ.
 * @example einsum(x, p.get('weight', 'o d', { o: 4, d: 8 }), 'b n d, o d -> b n o')
 */
export function einsum<const P extends string, A extends string, B extends string, D extends DType, E extends DType>(
  a: Tensor<A, D>,
  b: Tensor<B, E> & Agree<D, E>,
  pattern: P & Types.Einsum<P, A, B>,
): Tensor<Types.Right<P>, D> {
  requireTensor('einsum', a);
  requireTensor('einsum', b);
  if (typeof pattern !== 'string')
    throw refusal('einsum', 'what is given third is not a pattern', [a], 'multiply two tensors at a time');
  return atOperands([a.node, b.node], () => {
    const parsed = parsePattern(pattern, 'einsum', [printAxes(a.axes), printAxes(b.axes)]);
    const name = `einsum '${pattern}'`;
    const [left, right, third] = parsed.inputs;
    if (left === undefined || right === undefined || third !== undefined)
      throw patternError('einsum', pattern, 0, pattern.length, "einsum takes two operands: 'axes, axes -> axes'");
    const group = [...left, ...right, ...parsed.output].find((item) => item.group);
    if (group !== undefined)
      throw patternError('einsum', pattern, group.offset, group.length, 'einsum takes no groups', 'rearrange first');
    bindSide('einsum', parsed, left, a, {});
    bindSide('einsum', parsed, right, b, {});
    const stray = parsed.output.find((item) =>
      item.parts.some((part) => axisOf(a.axes, part) === undefined && axisOf(b.axes, part) === undefined),
    );
    if (stray !== undefined)
      throw patternError(
        'einsum',
        pattern,
        stray.offset,
        stray.length,
        `axis '${stray.parts.join(' ')}' is new: no operand has it`,
      );
    return product<Types.Right<P>, D>(
      name,
      a,
      b as Tensor<string, DType> as Tensor<string, D>,
      parsed.output.map((item) => item.parts[0] ?? ''),
    );
  });
}

/** True for a tensor of the checkpoint, also in another dtype or under other names. */
function isParameter(node: Node): boolean {
  const [x] = node.inputs;
  return x === undefined ? roleOf(node) === 'param' : node.inputs.length === 1 && isParameter(x);
}

/** Σ a·b over all axes that are not in `out`. */
export function product<S extends string, D extends DType>(
  name: string,
  a: Tensor<string, D>,
  b: Tensor<string, D>,
  out: readonly string[],
): Tensor<S, D> {
  if (a.dtype !== b.dtype) throw refusal(name, `dtypes differ: ${a.dtype} and ${b.dtype}`, [a, b], 'cast one of them');
  for (const axis of a.axes) {
    const other = axisOf(b.axes, axis.name);
    if (other !== undefined && !sizesEqual(axis.size, other.size)) {
      throw refusal(
        name,
        `axis '${axis.name}' is ${printSize(axis.size)} in the first operand and ${printSize(other.size)} in the second`,
        [a, b],
        [a, b].some((x) => isParameter(x.node))
          ? 'the checkpoint and the config may belong to different models'
          : `one name is one size: rename '${axis.name}' of one operand with rearrange, or slice it`,
      );
    }
  }
  const own = (x: Tensor<string, D>, y: Tensor) =>
    reduceAxes<string, D>(
      'sum',
      x,
      x.axes.map((axis) => axis.name).filter((axis) => axisOf(y.axes, axis) === undefined && !out.includes(axis)),
    );
  const [left, right] = [own(a, b), own(b, a)];
  const summed = left.axes.some((axis) => axisOf(right.axes, axis.name) !== undefined && !out.includes(axis.name));
  if (summed) return apply(name, contract, [left, right], { axes: out });
  // Nothing is summed: an outer product is a map, and fuses like one.
  const axes = out.map((axis) => axisOf(left.axes, axis) ?? requireAxis(name, right, axis));
  const wide = widened<string, D>(name, ordered(left, out), axes);
  return elementwise('mul', wide, right);
}

// ---- ranges, joins, windows ----------------------------------------------------------------------------------------

/**
 * A range of one axis: `size` elements from `start` (negative: from the end), every `step`-th.
 * @example slice(x, 'n', { start: -2 })
 */
export function slice<S extends string, D extends DType, A extends string>(
  x: Tensor<S, D>,
  axis: A & Has<S, A>,
  range: { readonly start?: Size; readonly size?: Size; readonly step?: number },
): Tensor<S, D> {
  const whole = requireAxis('slice', x, axis).size;
  checkOptions('slice', x, range, ['start', 'size', 'step']);
  const step = range.step ?? 1;
  const start = typeof range.start === 'number' && range.start < 0 ? addSizes(whole, range.start) : (range.start ?? 0);
  const taken = range.size ?? steps(x, axis, subtractSizes(whole, start), step);
  if (start === 0 && step === 1 && sizesEqual(taken, whole)) return x;
  return apply('slice', sliceOp, [x], { axis, start, size: taken, step });
}

function steps(x: Tensor, axis: string, rest: Size, step: number): Size {
  if (typeof rest === 'number') return Math.ceil(rest / step);
  const count = divideSize(rest, step);
  if (count === undefined)
    throw refusal(
      'slice',
      `${printSize(rest)} elements of axis '${axis}' in steps of ${step} do not come out`,
      [x],
      'give the size',
    );
  return count;
}

/**
 * A constant before and after one axis.
 * @example pad(x, 'n', { before: 1, after: 2, value: -1 })
 */
export function pad<S extends string, D extends DType, A extends string>(
  x: Tensor<S, D>,
  axis: A & Has<S, A>,
  by: { readonly before?: Size; readonly after?: Size; readonly value?: number },
): Tensor<S, D> {
  requireAxis('pad', x, axis);
  checkOptions('pad', x, by, ['before', 'after', 'value']);
  const [before, after, value] = [by.before ?? 0, by.after ?? 0, by.value ?? 0];
  checkNumber('pad', value, x.dtype, [x]);
  return before === 0 && after === 0 ? x : apply('pad', padOp, [x], { axis, before, after, value });
}

/**
 * One axis in reverse order.
 * @example flip(x, 'n')
 */
export function flip<S extends string, D extends DType, A extends string>(
  x: Tensor<S, D>,
  axis: A & Has<S, A>,
): Tensor<S, D> {
  requireAxis('flip', x, axis);
  return apply('flip', flipOp, [x], { axis });
}

/**
 * Overlapping windows along one axis: `into` names the axis of positions, which takes its place, and the axis within a window, which follows.
 * @example window(x, 'n', { into: ['n', 'k'], size: 3 }) // Tensor<'b n k d'>
 */
export function window<
  S extends string,
  D extends DType,
  A extends string,
  const O extends string,
  const I extends string,
>(
  x: Tensor<S, D>,
  axis: A & Has<S, A>,
  options: {
    readonly into: readonly [O & Lacks<Types.Without<S, A>, O>, I & Lacks<Types.Without<S, A> | O, I>];
    readonly size: number;
    readonly stride?: number;
    readonly dilation?: number;
  },
): Tensor<Types.Renamed<S, A, `${O} ${I}`>, D> {
  requireAxis('window', x, axis);
  checkOptions('window', x, options, ['into', 'size', 'stride', 'dilation']);
  const example = "window(x, 'n', { into: ['n', 'k'], size: 3 })";
  requireFields('window', options, { into: 'object', size: 'number' }, example);
  requireList('window', options.into, 'the two names', example);
  return apply('window', windowOp, [x], {
    axis,
    into: [...options.into],
    size: options.size,
    stride: options.stride ?? 1,
    dilation: options.dilation ?? 1,
  });
}

/**
 * Elements of `x` at positions along `axis`: the axes of `index`, then those of `x` that are neither read nor shared.
 * Shared axes are batch axes. Positions are clamped into the axis.
 * @example gather(p.get('embedding', 'v d', { v: 100, d: 8 }), ids, 'v') // Tensor<'b k d'>
 */
export function gather<S extends string, D extends DType, I extends string, A extends string>(
  x: Tensor<S, D>,
  index: Tensor<I, 'i32' | 'u32'>,
  axis: A & Has<S, A>,
): Tensor<Gathered<S, I, A>, D> {
  requireTensor('gather', index);
  requireAxis('gather', x, axis);
  return apply('gather', gatherOp, [x, index], { axis });
}
