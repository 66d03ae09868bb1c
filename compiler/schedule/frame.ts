// What every template needs: the threads' indices, flat indices taken apart into axes, grids of any length, and where roots are written.
import type { Axis } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import type { ReduceOp } from '../../dsl/graph/op.ts';
import { code, isVector, scalarType, type Code } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import {
  add,
  atomIndex,
  constantIndex,
  divide,
  multiply,
  remainder,
  scale,
  sizeIndex,
  type Index,
} from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import { Block, ceilDivide, loopVariable, type Kernel, type Shared } from '../kernel/kernel.ts';
import { axesStem, axisStem, Names } from '../kernel/names.ts';
import type { Width } from '../kernel/element-format.ts';
import { Lowering } from '../kernel/lower.ts';
import { quad } from '../kernel/quad.ts';
import type { DeviceProfile } from '../profile.ts';
import type { IndexMap, Placement, Storage } from '../kernel/storage.ts';

export interface Context {
  readonly profile: DeviceProfile;
  /** Where a stored node can be read. */
  readonly place: (node: Node) => Placement | undefined;
  /** Where a root of the group is written. */
  readonly target: (node: Node) => Placement;
  /** Memory for what passes of one group hand on. */
  readonly room: (node: Node) => Storage;
  /** True in graphs with sizes that change from run to run: they take a binding. */
  readonly hasSymbols: boolean;
  /** Each tensor through one binding, by elements where others read it by vectors; for kernels that have too few bindings otherwise. */
  readonly oneBindingEach?: boolean;
}

/** A kernel being written. */
export class Frame {
  readonly names = new Names();
  readonly body = new Block(this.names);
  readonly lowering: Lowering;
  readonly shared: Shared[] = [];
  readonly context: Context;
  constructor(context: Context, group: Group) {
    this.context = context;
    this.lowering = new Lowering(context.place, group.nodes, {
      maxBindingBytes: context.profile.maxBindingBytes,
      oneBindingEach: context.oneBindingEach === true,
    });
  }

  share(stem: string, type: Shared['type'], length: number): string {
    const name = this.names.fresh(stem);
    this.shared.push({ name, type, length });
    return name;
  }

  finish(
    template: string,
    threads: number,
    grid: Kernel['grid'],
    options: { readonly subgroups?: boolean; readonly matrices?: boolean } = {},
  ): Kernel {
    return {
      template,
      threads,
      grid,
      slots: this.lowering.slots,
      shared: this.shared,
      body: this.body.stmts,
      subgroups: options.subgroups ?? false,
      ...(options.matrices === true ? { matrices: true } : {}),
      accesses: this.lowering.accesses,
    };
  }
}

export function count(axes: readonly Axis[]): Index {
  return axes.map((a) => sizeIndex(a.size)).reduce(multiply, constantIndex(1));
}

/** A flat row-major index as one index per axis. */
export function takeApart(flat: Index, axes: readonly Axis[]): Map<string, Index> {
  const result = new Map<string, Index>();
  let rest = flat;
  [...axes].reverse().forEach((axis, i) => {
    const size = sizeIndex(axis.size);
    const isOutermost = i === axes.length - 1;
    result.set(axis.name, isOutermost ? rest : remainder(rest, size));
    if (!isOutermost) rest = divide(rest, size);
  });
  return result;
}

/** The same, each with a name of its own in the kernel. */
export function namedAxes(body: Block, flat: Index, axes: readonly Axis[]): Map<string, Index> {
  return new Map([...takeApart(flat, axes)].map(([name, index]) => [name, body.named(axisStem(name), index)]));
}

/** Part of an axis: from an element on, up to the one that `end` names in the kernel. */
export interface Walk {
  readonly from?: Index | undefined;
  readonly end?: string | undefined;
}

/** Loops over the axes, outermost first, whole or as far as `walk` says. */
export function walkAxes(
  body: Block,
  axes: readonly Axis[],
  index: IndexMap,
  write: (body: Block, index: IndexMap) => void,
  walk: (axis: Axis) => Walk = () => ({}),
): void {
  const [first, ...rest] = axes;
  if (first === undefined) write(body, index);
  else {
    const { from, end } = walk(first);
    body.loop(
      axisStem(first.name),
      sizeIndex(first.size),
      (inside, i) => walkAxes(inside, rest, new Map(index).set(first.name, i), write, walk),
      { ...(from === undefined ? {} : { from }), ...(end === undefined ? {} : { endText: end }) },
    );
  }
}

/** The name of a flat index over axes, which counts vectors where `width` is 4. */
export function flatStem(axes: readonly Axis[], width: Width = 1): string {
  return width === 4 ? `${axesStem(axes)}_quad` : axesStem(axes);
}

/** The element, or the four elements, that a unit of `width` stands for. */
export function elementAt(unit: Index, width: Width): Index {
  return width === 4 ? add(scale(unit, 4), quad) : unit;
}

export function indexVariable(name: string, end: Index): Index {
  return atomIndex(loopVariable(name, end));
}

/** Workgroups for `n` items along x, wrapped over y where one dimension, `widest` at most, is too short; `item` counts through both. */
export function lineGrid(
  n: Index,
  widest: number,
): { readonly grid: readonly [Index, Index, Index]; readonly item: string; readonly exact: boolean } {
  const one = constantIndex(1);
  if (n.most <= widest) return { grid: [n, one, one], item: 'group.x', exact: true };
  if (n.terms.length === 0) {
    const y = Math.ceil(n.constant / widest);
    const x = Math.ceil(n.constant / y);
    return {
      grid: [constantIndex(x), constantIndex(y), one],
      item: '(group.y * groups.x + group.x)',
      exact: x * y === n.constant,
    };
  }
  const x = Math.ceil(widest / 2);
  return { grid: [constantIndex(x), ceilDivide(n, x), one], item: '(group.y * groups.x + group.x)', exact: false };
}

/** One thread per item: the flat index, called `stem`, and, where the last workgroup is not full, the test that guards it. */
export function threadItems(
  body: Block,
  stem: string,
  items: Index,
  threads: number,
  widest: number,
): { readonly grid: Kernel['grid']; readonly item: Index; readonly test: string } {
  const groups = ceilDivide(items, threads);
  const line = lineGrid(groups, widest);
  const item = body.index(stem, `${line.item} * ${threads}u + thread`, items);
  const full = items.terms.length === 0 && items.constant % threads === 0 && line.exact;
  return {
    grid: line.grid,
    item,
    test: full ? 'true' : `${indexText(item)} < ${indexText(items)}`,
  };
}

/** The vector axis: its index runs over quarters, `quad` within. */
export function isQuartered(axis: Axis | undefined): boolean {
  return axis !== undefined && typeof axis.size === 'number' && axis.size % 4 === 0 && axis.size > 0;
}

/** One component of a vector that the template holds, by the position along the vector axis. */
export function component(vector: Code, position: Index): Code {
  if (!isVector(vector.type)) return vector;
  const lane = remainder(position, constantIndex(4));
  const type = scalarType(vector.type);
  return lane.terms.length === 0
    ? code(`${vector.text}.${'xyzw'[lane.constant] ?? 'x'}`, type)
    : code(`${vector.text}[${indexText(lane)}]`, type);
}

/** Reductions the four components of a vector accumulator. */
export function reduceComponents(body: Block, op: ReduceOp, acc: Code): Code {
  if (!isVector(acc.type)) return acc;
  const part = (name: string) => code(`${acc.text}.${name}`, scalarType(acc.type));
  return body.let('reduced', op.wgsl(op.wgsl(part('x'), part('y')), op.wgsl(part('z'), part('w'))));
}

/** Reductions over the lanes of a subgroup by a butterfly, or over those that are a multiple of `apart` from one another: each of them ends with the same bits. */
export function reduceLanes(body: Block, op: ReduceOp, acc: Code, lanes: number, apart = 1): Code {
  let result = acc;
  for (let step = lanes / 2; step >= apart; step /= 2) {
    const other = body.let('other_lane', code(`subgroupShuffleXor(${result.text}, ${step}u)`, result.type));
    result = body.let('reduced', op.wgsl(result, other));
  }
  return result;
}
