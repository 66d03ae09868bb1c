// Which part of each tensor is asked for: the ranges that its readers take, traced from the outputs to the inputs.
import { sizeProduct } from '../../dsl/axis/axes.ts';
import {
  addSizes,
  axisOf,
  divideSize,
  multiplySizes,
  sizeLeast,
  sizesEqual,
  subtractSizes,
  type Axis,
  type Size,
  neverAbove,
} from '../../dsl/axis/axis.ts';
import { reducedAxes, type Node } from '../../dsl/graph/graph.ts';
import { rearrange, pad, slice, window } from '../../dsl/ops/view.ts';
import { attrsOf } from './rearrangement.ts';
import { alongAxis } from '../../dsl/graph/attributes.ts';

/** `size` elements from `start`, every step-th. */
export interface Range {
  readonly start: Size;
  readonly size: Size;
  readonly step: number;
}

/** The range asked for along each axis; an axis that is not named is asked for as a whole. */
export type Demand = ReadonlyMap<string, Range>;

export const everything: Demand = new Map();

export function rangeEnd(range: Range): Size {
  return addSizes(range.start, addSizes(multiplySizes(range.step, subtractSizes(range.size, 1)), 1));
}

export function sameRange(a: Range, b: Range): boolean {
  return a.step === b.step && sizesEqual(a.start, b.start) && sizesEqual(a.size, b.size);
}

/** The smallest range, without steps, that holds both; undefined where symbols leave that open, or where it is the whole axis. */
function hull(a: Range, b: Range, whole: Size): Range | undefined {
  if (sameRange(a, b)) return a;
  const start = neverAbove(a.start, b.start) ? a.start : neverAbove(b.start, a.start) ? b.start : undefined;
  const [endA, endB] = [rangeEnd(a), rangeEnd(b)];
  const end = neverAbove(endA, endB) ? endB : neverAbove(endB, endA) ? endA : undefined;
  if (start === undefined || end === undefined) return undefined;
  const size = subtractSizes(end, start);
  return sizesEqual(size, whole) ? undefined : { start, size, step: 1 };
}

/** What two readers ask for together. */
export function union(a: Demand, b: Demand, axes: readonly Axis[]): Demand {
  const both = new Map<string, Range>();
  for (const { name, size } of axes) {
    const [first, second] = [a.get(name), b.get(name)];
    const range = first === undefined || second === undefined ? undefined : hull(first, second, size);
    if (range !== undefined) both.set(name, range);
  }
  return both;
}

function only(demand: Demand, keep: (axis: string) => boolean): Demand {
  return new Map([...demand].filter(([name]) => keep(name)));
}

/** How a demand on an output axis of a rearrange narrows the outermost part of an input axis. */
export interface PartRange {
  readonly part: string;
  readonly range: Range;
  /** The input axis, and the range of it. */
  readonly axis: string;
  readonly below: Range;
}

export function rearrangedRange(node: Node, name: string, range: Range): PartRange | undefined {
  const attrs = attrsOf(node);
  const sizeOf = (parts: readonly string[]): Size | undefined => {
    // Only plain numbers divide and multiply without question.
    const sizes = parts.map((part) => attrs.sizes[part] ?? 1);
    return sizes.every((size) => typeof size === 'number') ? sizeProduct(sizes) : undefined;
  };
  const [part, ...inner] = attrs.merge.find((merged) => merged.name === name)?.parts ?? [];
  const at = attrs.split.findIndex((parts) => parts[0] === part);
  const axis = node.inputs[0]?.type.axes[at];
  const innerSize = sizeOf(inner);
  const [, ...beside] = attrs.split[at] ?? [];
  const besideSize = sizeOf(beside);
  if (part === undefined || axis === undefined || typeof innerSize !== 'number' || typeof besideSize !== 'number')
    return undefined;
  if (range.step !== 1 && (innerSize !== 1 || besideSize !== 1)) return undefined;
  const start = divideSize(range.start, innerSize);
  const size = divideSize(range.size, innerSize);
  if (start === undefined || size === undefined) return undefined;
  return {
    part,
    range: { start, size, step: range.step },
    axis: axis.name,
    below: { start: multiplySizes(start, besideSize), size: multiplySizes(size, besideSize), step: range.step },
  };
}

/** The operands of a concat and the range of each that a range of the result takes; undefined where symbols leave it open. */
export function joinedRanges(node: Node, range: Range): readonly (Range | undefined)[] | undefined {
  if (range.step !== 1) return undefined;
  const end = rangeEnd(range);
  const ranges: (Range | undefined)[] = [];
  let offset: Size = 0;
  for (const part of node.inputs) {
    const size: Size = axisOf(part.type.axes, alongAxis(node))?.size ?? 0;
    const past = addSizes(offset, size);
    if (neverAbove(past, range.start) || neverAbove(end, offset)) {
      ranges.push(undefined);
    } else {
      const from = neverAbove(range.start, offset) ? offset : neverAbove(offset, range.start) ? range.start : undefined;
      const to = neverAbove(past, end) ? past : neverAbove(end, past) ? end : undefined;
      if (from === undefined || to === undefined) return undefined;
      ranges.push({ start: subtractSizes(from, offset), size: subtractSizes(to, from), step: 1 });
    }
    offset = past;
  }
  return ranges.some((taken) => taken !== undefined) ? ranges : undefined;
}

export interface Padded {
  readonly below: Range;
  readonly before: number;
  readonly after: number;
}

export function paddedRange(node: Node, range: Range): Padded | undefined {
  const { axis, before } = pad.read(node.attrs);
  const { start, size } = range;
  const inside = axisOf(node.inputs[0]?.type.axes ?? [], axis)?.size;
  if (
    range.step !== 1 ||
    typeof start !== 'number' ||
    typeof size !== 'number' ||
    typeof before !== 'number' ||
    typeof inside !== 'number'
  )
    return undefined;
  const from = Math.max(0, start - before);
  const to = Math.min(inside, start + size - before);
  if (to <= from) return undefined;
  return {
    below: { start: from, size: to - from, step: 1 },
    before: Math.max(0, before - start),
    after: Math.max(0, start + size - before - inside),
  };
}

/** The part of a demand that the op can compute alone; where it cannot, it computes the axis as a whole. */
export function admitted(node: Node, demand: Demand): Demand {
  if (demand.size === 0) return everything;
  // An empty range would make reductions and products of nothing below.
  const sound = only(demand, (name) => sizeLeast(demand.get(name)?.size ?? 0) > 0);
  const range = (name: string): Range => sound.get(name) ?? { start: 0, size: 0, step: 1 };
  switch (node.op.kind) {
    case 'source':
      return everything;
    case 'map':
    case 'reduce':
    case 'contract':
    case 'gather':
      return sound;
    // Other ranks, and the sums of other rows, are found in one go.
    case 'scatter':
    case 'sort':
      return only(sound, (name) => name !== alongAxis(node));
    case 'join':
      return only(sound, (name) => name !== alongAxis(node) || joinedRanges(node, range(name)) !== undefined);
    case 'view':
      break;
    default:
      return node.op satisfies never;
  }
  switch (node.op.name) {
    case 'broadcast':
    case 'slice':
      return sound;
    case 'rearrange':
      return only(sound, (name) => rearrangedRange(node, name, range(name)) !== undefined);
    case 'flip':
      return only(sound, (name) => name !== alongAxis(node) || range(name).step === 1);
    case 'pad':
      return only(sound, (name) => name !== alongAxis(node) || paddedRange(node, range(name)) !== undefined);
    case 'window': {
      const [outer, inner] = window.read(node.attrs).into;
      return only(sound, (name) => name !== inner && (name !== outer || typeof range(name).size === 'number'));
    }
    // A view this pass does not know computes everything.
    default:
      return everything;
  }
}

/** What operand `i` must supply for the admitted demand on the node; undefined when nothing of it is needed. */
export function needed(node: Node, demand: Demand, i: number): Demand | undefined {
  const input = node.inputs[i];
  if (input === undefined) return undefined;
  const has = (name: string) => axisOf(input.type.axes, name) !== undefined;
  switch (node.op.kind) {
    case 'source':
      return undefined;
    case 'map':
      return only(demand, has);
    case 'reduce':
      return only(demand, (name) => has(name) && !reducedAxes(node).includes(name));
    // A summed axis is not an axis of the output, so no range of it is ever asked for.
    case 'contract':
      return only(demand, has);
    case 'gather':
    case 'scatter':
    case 'sort':
      return only(demand, (name) => has(name) && name !== alongAxis(node));
    case 'join': {
      const range = demand.get(alongAxis(node));
      const ranges = range === undefined ? undefined : joinedRanges(node, range);
      if (ranges === undefined) return demand;
      const own = ranges[i];
      return own === undefined ? undefined : new Map([...demand, [alongAxis(node), own]]);
    }
    case 'view':
      return neededByView(node, demand, has);
    default:
      return node.op satisfies never;
  }
}

function neededByView(node: Node, demand: Demand, has: (name: string) => boolean): Demand {
  if (node.op === rearrange) {
    const below = new Map<string, Range>();
    for (const [name, range] of demand) {
      const part = rearrangedRange(node, name, range);
      if (part !== undefined) below.set(part.axis, part.below);
    }
    return below;
  }
  if (node.op.name === 'broadcast') return only(demand, has);
  const along = alongAxis(node);
  const below = new Map(only(demand, (name) => has(name) && name !== along));
  const range = demand.get(along);
  const whole = axisOf(node.inputs[0]?.type.axes ?? [], along)?.size ?? 0;
  switch (node.op.name) {
    case 'slice': {
      const { start, size, step } = slice.read(node.attrs);
      const taken = range ?? { start: 0, size, step: 1 };
      below.set(along, {
        start: addSizes(start, multiplySizes(step, taken.start)),
        size: taken.size,
        step: step * taken.step,
      });
      break;
    }
    case 'flip':
      if (range !== undefined)
        below.set(along, { start: subtractSizes(whole, rangeEnd(range)), size: range.size, step: 1 });
      break;
    case 'pad': {
      const padded = range === undefined ? undefined : paddedRange(node, range);
      if (padded !== undefined) below.set(along, padded.below);
      break;
    }
    case 'window': {
      const [outer] = window.read(node.attrs).into;
      below.delete(outer);
      const steps = demand.get(outer);
      if (steps !== undefined) below.set(along, windowRange(node, steps));
      break;
    }
    default:
      break;
  }
  return below;
}

/** The input range under some positions of a window. */
function windowRange(node: Node, positions: Range): Range {
  const { size, stride, dilation } = window.read(node.attrs);
  const span = dilation * (size - 1) + 1;
  return {
    start: multiplySizes(stride, positions.start),
    size: addSizes(multiplySizes(stride * positions.step, subtractSizes(positions.size, 1)), span),
    step: 1,
  };
}
