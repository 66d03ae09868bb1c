// Index maps: which input element each output element is. The interpreter and the compiler both ask `source`.
import {
  addSizes,
  axisOf,
  divideSize,
  multiplySizes,
  printAxes,
  printSize,
  sizeBound,
  sizeLeast,
  sizesEqual,
  subtractSizes,
  type Axis,
  type Size,
} from '../axis/axis.ts';
import type { Node } from '../graph/graph.ts';
import { attributes, axes, number, otherwise, pair, size, text } from '../graph/attributes.ts';
import { Refusal, type GradientMath, type IndexMath, type Read, type TensorType, type ViewOp } from '../graph/op.ts';
import { readPattern, readRearrange, writePattern, type RearrangeAttrs } from './view-pattern.ts';
import { view } from './view-row.ts';

function partSize(attrs: RearrangeAttrs, part: string): Size {
  const size = attrs.sizes[part];
  if (size === undefined) throw new TypeError(`rearrange knows no size of '${part}'`);
  return size;
}

function product(attrs: RearrangeAttrs, parts: readonly string[]): Size {
  return parts.reduce<Size>((size, part) => multiplySizes(size, partSize(attrs, part)), 1);
}

/** The indices of the parts of one merged index. */
function takeApart<I, C>(
  math: IndexMath<I, C>,
  attrs: RearrangeAttrs,
  parts: readonly string[],
  index: I,
  into: Map<string, I>,
): void {
  parts.forEach((part, i) => {
    const inner = product(attrs, parts.slice(i + 1));
    const scaled = inner === 1 ? index : math.divide(index, inner);
    into.set(part, i === 0 ? scaled : math.remainder(scaled, partSize(attrs, part)));
  });
}

function putTogether<I, C>(
  math: IndexMath<I, C>,
  attrs: RearrangeAttrs,
  parts: readonly string[],
  of: ReadonlyMap<string, I>,
): I {
  return parts.reduce<I>((sum, part, i) => {
    const index = of.get(part);
    if (index === undefined) throw new TypeError(`rearrange knows no index of '${part}'`);
    return math.add(sum, math.multiply(index, product(attrs, parts.slice(i + 1))));
  }, math.of(0));
}

export const rearrange: ViewOp<RearrangeAttrs> = view({
  name: 'rearrange',
  shows: 'each',
  text: { write: writePattern, read: readPattern },
  doc: 'split, permute, rename and merge axes, one to one',
  read: readRearrange,
  infer(x, attrs) {
    if (attrs.split.length !== x.axes.length)
      return new Refusal(
        `the pattern has ${attrs.split.length} axes, the tensor ${printAxes(x.axes)} has ${x.axes.length}`,
      );
    for (const [i, axis] of x.axes.entries()) {
      const parts = attrs.split[i] ?? [];
      if (!sizesEqual(product(attrs, parts), axis.size)) {
        return new Refusal(
          `axis '${axis.name}' has size ${printSize(axis.size)}, its parts ${parts.map((p) => `${p}:${printSize(partSize(attrs, p))}`).join(' ')} make ${printSize(product(attrs, parts))}`,
        );
      }
    }
    return { axes: attrs.merge.map((m) => ({ name: m.name, size: product(attrs, m.parts) })), dtype: x.dtype };
  },
  source(math, out, attrs, x) {
    const parts = new Map<string, Parameters<typeof math.add>[0]>();
    for (const merged of attrs.merge) takeApart(math, attrs, merged.parts, indexOf(out, merged.name), parts);
    const index = new Map(x.axes.map((axis, i) => [axis.name, putTogether(math, attrs, attrs.split[i] ?? [], parts)]));
    return { index, guards: [], otherwise: 0 };
  },
  target(math, index, attrs, x) {
    const parts = new Map<string, Parameters<typeof math.add>[0]>();
    x.axes.forEach((axis, i) => takeApart(math, attrs, attrs.split[i] ?? [], indexOf(index, axis.name), parts));
    return new Map(attrs.merge.map((m) => [m.name, putTogether(math, attrs, m.parts, parts)]));
  },
  transpose(math, dy, { split, merge, sizes }, x) {
    return math.view(rearrange, dy, {
      split: merge.map((m) => m.parts),
      merge: x.axes.map((axis, i) => ({ name: axis.name, parts: split[i] ?? [] })),
      sizes,
    });
  },
});

function indexOf<I>(index: ReadonlyMap<string, I>, name: string): I {
  const found = index.get(name);
  if (found === undefined) throw new TypeError(`no index for axis '${name}'`);
  return found;
}

const readBroadcast = attributes('broadcast', { axes });

/** `axes`: the output axes in order, among them every input axis. */
export const broadcast: ViewOp<Read<typeof readBroadcast>> = view({
  name: 'broadcast',
  shows: 'repeated',
  doc: 'new axes along which the value is the same',
  read: readBroadcast,
  infer(x, { axes: wanted }) {
    for (const axis of x.axes) {
      const wide = axisOf(wanted, axis.name);
      if (wide === undefined) return new Refusal(`axis '${axis.name}' is lost`);
      if (!sizesEqual(wide.size, axis.size))
        return new Refusal(`axis '${axis.name}' is ${printSize(axis.size)}, not ${printSize(wide.size)}`);
    }
    return { axes: wanted, dtype: x.dtype };
  },
  source(_math, out, _attrs, x) {
    return { index: new Map(x.axes.map((axis) => [axis.name, indexOf(out, axis.name)])), guards: [], otherwise: 0 };
  },
  transpose: (math, dy, _attrs, x) =>
    math.sum(
      dy,
      dy.type.axes.map((axis) => axis.name).filter((name) => axisOf(x.axes, name) === undefined),
    ),
});

function withSize(x: TensorType, name: string, size: Size): TensorType {
  return { axes: x.axes.map((axis): Axis => (axis.name === name ? { name, size } : axis)), dtype: x.dtype };
}

function along(x: TensorType, name: string): Axis | Refusal {
  return axisOf(x.axes, name) ?? new Refusal(`${printAxes(x.axes)} has no axis '${name}'`);
}

function only<I>(x: TensorType, out: ReadonlyMap<string, I>, name: string, index: I): ReadonlyMap<string, I> {
  return new Map(x.axes.map((axis) => [axis.name, axis.name === name ? index : indexOf(out, axis.name)]));
}

const readSlice = attributes('slice', { axis: text, start: size, size, step: otherwise(number, 1) });

export const slice: ViewOp<Read<typeof readSlice>> = view({
  name: 'slice',
  shows: 'range',
  doc: 'a range of one axis, every step-th element',
  read: readSlice,
  infer(x, { axis: name, start, size: taken, step }) {
    const axis = along(x, name);
    if (axis instanceof Refusal) return axis;
    if (!Number.isInteger(step) || step < 1) return new Refusal(`step must be a positive whole number, got ${step}`);
    const end = step === 1 ? addSizes(start, taken) : addSizes(addSizes(start, multiplySizes(step, taken)), 1 - step);
    const room = subtractSizes(axis.size, end);
    if (sizeLeast(taken) < 0 || sizeLeast(start) < 0 || (sizeLeast(room) < 0 && sizeBound(taken) > 0)) {
      return new Refusal(
        `the range ${printSize(start)}..${printSize(end)} does not fit axis '${axis.name}' of size ${printSize(axis.size)}`,
      );
    }
    return withSize(x, axis.name, taken);
  },
  source(math, out, { axis, start, step }, x) {
    const index = math.add(math.multiply(indexOf(out, axis), step), math.of(start));
    return { index: only(x, out, axis, index), guards: [], otherwise: 0 };
  },
  transpose(math, dy, { axis, start, size: taken, step }, x) {
    const whole = axisOf(x.axes, axis)?.size ?? 0;
    const apart = spread(math, dy, axis, step);
    // The last element of a step may lie behind the end: one step more than needed, cut off again.
    const end = addSizes(start, multiplySizes(step, taken));
    const after = addSizes(subtractSizes(whole, end), step - 1);
    const wide = math.view(pad, apart, { axis, before: start, after, value: 0 });
    return step === 1 ? wide : math.view(slice, wide, { axis, start: 0, size: whole, step: 1 });
  },
});

const readPad = attributes('pad', { axis: text, before: size, after: size, value: otherwise(number, 0) });

export const pad: ViewOp<Read<typeof readPad>> = view({
  name: 'pad',
  shows: 'padded',
  doc: 'a constant before and after one axis',
  read: readPad,
  infer(x, { axis: name, before, after }) {
    const axis = along(x, name);
    if (axis instanceof Refusal) return axis;
    if (sizeLeast(before) < 0 || sizeLeast(after) < 0)
      return new Refusal(
        `padding must not be negative, got ${printSize(before)} and ${printSize(after)}`,
        'use slice to take elements away',
      );
    return withSize(x, axis.name, addSizes(addSizes(before, axis.size), after));
  },
  source(math, out, { axis, before, value }, x) {
    const index = math.add(indexOf(out, axis), math.of(multiplySizes(-1, before)));
    return {
      index: only(x, out, axis, index),
      guards: [math.within(index, 0, axisOf(x.axes, axis)?.size ?? 0)],
      otherwise: value,
    };
  },
  transpose(math, dy, { axis, before }, x) {
    const whole = axisOf(x.axes, axis)?.size ?? 0;
    return math.view(slice, dy, { axis, start: before, size: whole, step: 1 });
  },
});

/** Counted from the other end of one axis. */
function turned<I, C>(
  math: IndexMath<I, C>,
  index: ReadonlyMap<string, I>,
  name: string,
  x: TensorType,
): ReadonlyMap<string, I> {
  const last = subtractSizes(axisOf(x.axes, name)?.size ?? 1, 1);
  return only(x, index, name, math.add(math.of(last), math.multiply(indexOf(index, name), -1)));
}

const readFlip = attributes('flip', { axis: text });

export const flip: ViewOp<Read<typeof readFlip>> = view({
  name: 'flip',
  shows: 'each',
  doc: 'one axis in reverse order',
  read: readFlip,
  infer(x, { axis: name }) {
    const axis = along(x, name);
    return axis instanceof Refusal ? axis : x;
  },
  source: (math, out, { axis }, x) => ({ index: turned(math, out, axis, x), guards: [], otherwise: 0 }),
  target: (math, index, { axis }, x) => turned(math, index, axis, x),
  transpose: (math, dy, { axis }) => math.view(flip, dy, { axis }),
});

const readWindow = attributes('window', {
  axis: text,
  into: pair,
  size: number,
  stride: otherwise(number, 1),
  dilation: otherwise(number, 1),
});

/** `into`: name of the position axis, name of the axis inside the window. */
export const window: ViewOp<Read<typeof readWindow>> = view({
  name: 'window',
  shows: 'windows',
  doc: 'overlapping windows along one axis',
  read: readWindow,
  infer(x, { axis: name, into: [outer, inner], size: width, stride, dilation }) {
    const axis = along(x, name);
    if (axis instanceof Refusal) return axis;
    if (![width, stride, dilation].every((n) => Number.isInteger(n) && n > 0))
      return new Refusal(
        `size, stride and dilation must be positive whole numbers, got ${width}, ${stride}, ${dilation}`,
      );
    const span = dilation * (width - 1) + 1;
    const spare = subtractSizes(axis.size, span);
    if (sizeLeast(spare) < 0)
      return new Refusal(
        `a window of ${span} does not fit axis '${axis.name}' of size ${printSize(axis.size)}`,
        'pad the axis first',
      );
    const steps = typeof spare === 'number' ? Math.floor(spare / stride) : divideSize(spare, stride);
    if (steps === undefined)
      return new Refusal(`a stride of ${stride} over the symbolic size ${printSize(axis.size)} does not come out`);
    const others = x.axes.filter((a) => a.name !== axis.name);
    const clash = others.find((a) => a.name === outer || a.name === inner);
    if (clash !== undefined || outer === inner) return new Refusal(`axis '${clash?.name ?? outer}' stands twice`);
    const wanted = x.axes.flatMap((a): readonly Axis[] =>
      a.name === axis.name
        ? [
            { name: outer, size: addSizes(steps, 1) },
            { name: inner, size: width },
          ]
        : [a],
    );
    return { axes: wanted, dtype: x.dtype };
  },
  source(math, out, { axis, into: [outer, inner], stride, dilation }, x) {
    const index = math.add(math.multiply(indexOf(out, outer), stride), math.multiply(indexOf(out, inner), dilation));
    return { index: only(x, out, axis, index), guards: [], otherwise: 0 };
  },
  /**
   * Element p gets Σ_i dy[(p − i·dilation) / stride, i]. Rows i of `dy`, laid end to end and read with a length that is `dilation`
   * shorter, are each shifted against the one before: views, and one sum over them.
   */
  transpose(math, dy, { axis, into: [outer, inner], size: width, stride, dilation }, x) {
    const others = x.axes.filter((a) => a.name !== axis);
    const [row, place, all] = fresh(x, 'row', 'place', 'rows');
    const apart = spread(math, dy, outer, stride);
    const whole = axisOf(x.axes, axis)?.size ?? 0;
    const shifted = addSizes(whole, Math.max(0, stride - 1 - dilation));
    const length = addSizes(shifted, dilation);
    const steps = axisOf(apart.type.axes, outer)?.size ?? 0;
    const rows = math.view(pad, apart, { axis: outer, before: 0, after: subtractSizes(length, steps), value: 0 });
    const end = math.view(rearrange, rows, {
      split: rows.type.axes.map((a) => [a.name === outer ? place : a.name === inner ? row : a.name]),
      merge: [...others.map((a) => ({ name: a.name, parts: [a.name] })), { name: all, parts: [row, place] }],
      sizes: Object.fromEntries([...others.map((a) => [a.name, a.size] as const), [row, width], [place, length]]),
    });
    const shorter = math.view(slice, end, { axis: all, start: 0, size: multiplySizes(width, shifted), step: 1 });
    const apartAgain = math.view(rearrange, shorter, {
      split: [...others.map((a) => [a.name]), [row, place]],
      merge: [
        { name: row, parts: [row] },
        ...x.axes.map((a) => ({ name: a.name, parts: [a.name === axis ? place : a.name] })),
      ],
      sizes: Object.fromEntries([...others.map((a) => [a.name, a.size] as const), [row, width], [place, shifted]]),
    });
    return math.sum(math.view(slice, apartAgain, { axis, start: 0, size: whole, step: 1 }), [row]);
  },
});

/** The elements of one axis `step` apart, and zeros between and after them. */
function spread(math: GradientMath, x: Node, axis: string, step: number): Node {
  if (step === 1) return x;
  const [gap] = fresh(x.type, 'gap');
  const sizes = Object.fromEntries(x.type.axes.map((a) => [a.name, a.size]));
  const split = x.type.axes.map((a) => [a.name]);
  const merge = x.type.axes.map((a) => ({ name: a.name, parts: [a.name] }));
  const unit = math.view(rearrange, x, {
    split: x.type.axes.map((a) => (a.name === axis ? [axis, gap] : [a.name])),
    merge: [...merge, { name: gap, parts: [gap] }],
    sizes: { ...sizes, [gap]: 1 },
  });
  const wide = math.view(pad, unit, { axis: gap, before: 0, after: step - 1, value: 0 });
  return math.view(rearrange, wide, {
    split: [...split, [gap]],
    merge: x.type.axes.map((a) => ({ name: a.name, parts: a.name === axis ? [axis, gap] : [a.name] })),
    sizes: { ...sizes, [gap]: step },
  });
}

/** Axis names that the tensor does not have. */
function fresh<const N extends readonly string[]>(x: TensorType, ...names: N): { readonly [I in keyof N]: string } {
  const free = (name: string): string => (axisOf(x.axes, name) === undefined ? name : free(`${name}_`));
  return names.map(free) as { readonly [I in keyof N]: string };
}

export const views: readonly ViewOp[] = [rearrange, broadcast, slice, pad, flip, window];
