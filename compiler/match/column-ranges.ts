// What becomes of ranges of a product's columns, where each goes by maps and views of its own to where it is stored: queries, keys and values
// that one product makes, rotated, keys and values in their caches. A rotation brings columns together that are half a head apart: the kernel
// makes both in one thread.
import { axisOf } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { roles } from '../../dsl/ops/contract.ts';
import { flip, slice } from '../../dsl/ops/view.ts';
import {
  add,
  alwaysHolds,
  atomIndex,
  constantIndex,
  divide,
  indexMath,
  remainder,
  scale,
  sizeIndex,
  variable,
  type Index,
} from '../index/index-math.ts';
import type { Width } from '../kernel/element-format.ts';
import { loopVariable } from '../kernel/kernel.ts';
import { quad } from '../kernel/quad.ts';
import { indexAlong, type IndexMap } from '../kernel/storage.ts';
import { indexAfter, isPlacing } from './index-after.ts';

export interface ColumnRange {
  /** The slice of the columns, and where it begins. */
  readonly slice: Node;
  readonly start: number;
  readonly size: number;
  /** Each reads the one before, the first the slice; the last is what is stored. */
  readonly path: readonly Node[];
  readonly root: Node;
}

export interface ColumnRanges {
  readonly column: string;
  readonly each: readonly ColumnRange[];
  /** Where columns that are so many apart are made by one thread: the length of half a head. */
  readonly half: number | undefined;
  /** All between the product and what is stored, this too. */
  readonly nodes: ReadonlySet<Node>;
}

export interface ColumnRangesQuery {
  readonly readersOf: (node: Node) => readonly Node[];
  /** Must be stored: an output, or what is written into a state. */
  readonly isKept: (node: Node) => boolean;
  /** Is written into a state where it belongs. */
  readonly isPlaced: (node: Node) => boolean;
  /** Has a kernel already. */
  readonly isTaken: (node: Node) => boolean;
  /** Is computed from the product. */
  readonly waits: (node: Node) => boolean;
}

/**
 * The ranges of a product whose kernel can write all of them where they belong, one of them at least into a state. Sound because whatever else
 * is read on the way does not wait for the product, and because a thread that makes a column, or two that are half a head apart, reads no
 * other: which is tried with symbols for the indices.
 */
export function findColumnRanges(contract: Node, query: ColumnRangesQuery): ColumnRanges | undefined {
  const column = columnOf(contract);
  if (column === undefined) return undefined;
  const before = mapsBefore(contract, query);
  const last = before.at(-1) ?? contract;
  const slices = query.readersOf(last);
  // What waits for what is asked last: it takes a walk through the graph.
  if (slices.length < 2 || query.isKept(last) || slices.some(({ op }) => op !== slice)) return undefined;
  if (before.some((map, i) => map.inputs.some((x) => x !== (before[i - 1] ?? contract) && query.waits(x))))
    return undefined;
  const found = slices.flatMap((node) => rangeOf(node, column, query) ?? []);
  if (found.length < slices.length) return undefined;
  if (!found.some(({ range }) => query.isPlaced(range.root))) return undefined;
  const nodes = new Set([...before, ...found.flatMap(({ nodes: own }) => [...own])]);
  const halves = new Set([...nodes].flatMap(halfOf));
  for (const half of [undefined, ...halves]) {
    const ranges = { column, each: found.map(({ range }) => range), half, nodes };
    if (ranges.each.every((range) => isClosed(contract, range, ranges))) return ranges;
  }
  return undefined;
}

/** Numbers that a kernel holds together are vectors where columns are a multiple of four. */
export function widthOf(columns: number): Width {
  return columns % 4 === 0 ? 4 : 1;
}

/** The columns of a thread, from the unit that it counts: a number or a vector of neighbours; or that and the one half a head further. */
export function columnsAt(unit: Index, width: Width, half: number | undefined): readonly Index[] {
  const at = width === 4 ? add(scale(unit, 4), quad) : unit;
  return half === undefined ? [at] : ([0, 1] as const).map((which) => inHalf(at, half, which));
}

/** Of columns in pairs of halves, one of those that are the first or the second half of their head, counted as if there were no others. */
export function inHalf(at: Index, half: number, which: 0 | 1): Index {
  const length = constantIndex(half);
  return add(scale(divide(at, length), 2 * half), constantIndex(which * half), remainder(at, length));
}

/** The only axis of columns of a product, which is its last. */
function columnOf({ inputs: [a, b], type }: Node): string | undefined {
  const last = type.axes.at(-1);
  if (a === undefined || b === undefined || last === undefined || typeof last.size !== 'number') return undefined;
  const { rows, columns } = roles(a.type, b.type, type);
  const own = axisOf(rows, last.name) === undefined ? columns : rows;
  return own.length === 1 && axisOf(own, last.name) !== undefined ? last.name : undefined;
}

/** Maps of all columns, as a bias, before these are taken apart. */
function mapsBefore(contract: Node, { readersOf, isKept, isTaken }: ColumnRangesQuery): readonly Node[] {
  const maps: Node[] = [];
  for (let at = contract; !isKept(at);) {
    const [next, ...more] = readersOf(at);
    if (next === undefined || more.length > 0 || next.op.kind !== 'map' || next.op.apart || isTaken(next)) break;
    const isOver =
      next.type.axes.length === contract.type.axes.length &&
      next.type.axes.every(({ name }) => axisOf(contract.type.axes, name) !== undefined);
    if (!isOver) break;
    maps.push(next);
    at = next;
  }
  return maps;
}

function rangeOf(
  node: Node,
  column: string,
  query: ColumnRangesQuery,
): { readonly range: ColumnRange; readonly nodes: ReadonlySet<Node> } | undefined {
  if (node.op !== slice || query.isTaken(node)) return undefined;
  const { axis, start, size, step } = slice.read(node.attrs);
  if (axis !== column || step !== 1 || typeof start !== 'number' || typeof size !== 'number') return undefined;
  const nodes = placedAfter(node, query);
  const ends = [...nodes].filter((x) => query.isKept(x) || query.readersOf(x).some((reader) => !nodes.has(reader)));
  const [root, ...others] = ends;
  if (root === undefined || others.length > 0) return undefined;
  // Elsewhere it would be read as it is: what is reduced, or read in kernels of maps, gains nothing by being stored.
  const isRead = query.isKept(root) || query.readersOf(root).every(({ op }) => op.kind === 'contract');
  const path: Node[] = [];
  for (let at = root; at !== node;) {
    path.unshift(at);
    const next = at.inputs.find((x) => nodes.has(x));
    if (next === undefined) return undefined;
    at = next;
  }
  return isRead ? { range: { slice: node, start, size, path, root }, nodes } : undefined;
}

/** The slice, and maps and views that only place, as far as nothing of them must be stored and they wait for nothing else of the product. */
function placedAfter(from: Node, { readersOf, isKept, isTaken, waits }: ColumnRangesQuery): ReadonlySet<Node> {
  const nodes = new Set([from]);
  const open = [from];
  for (let at = open.shift(); at !== undefined; at = open.shift()) {
    if (isKept(at)) continue;
    for (const reader of readersOf(at)) {
      const isLight = (reader.op.kind === 'map' && !reader.op.apart) || isPlacing(reader);
      if (!isLight || nodes.has(reader) || isTaken(reader)) continue;
      if (reader.inputs.some((x) => !nodes.has(x) && waits(x))) continue;
      nodes.add(reader);
      // A map that was refused because it also reads this one may be taken now.
      open.push(reader, at);
    }
  }
  return nodes;
}

/** The distance over which a view that turns two halves round brings elements of an axis together. */
function halfOf({ op, attrs, type }: Node): readonly number[] {
  if (op !== flip) return [];
  const { axis } = flip.read(attrs);
  const at = type.axes.findIndex(({ name }) => name === axis);
  const inner = type.axes.slice(at + 1).map(({ size }) => Number(size));
  const half = inner.reduce((product, size) => product * size, 1);
  return type.axes[at]?.size === 2 && half > 0 && half % 4 === 0 ? [half] : [];
}

/** Whether a thread that makes these columns of a range has all that is read of the product. */
function isClosed(contract: Node, range: ColumnRange, { column, half, nodes }: ColumnRanges): boolean {
  const { start, size, path, root } = range;
  const columns = Number(axisOf(contract.type.axes, column)?.size);
  const width = widthOf(columns);
  const together = width * (half === undefined ? 1 : 2);
  const isWhole = (n: number): boolean => n % together === 0 && (half === undefined || n % (2 * half) === 0);
  if (![start, size, columns].every(isWhole) || size === 0) return false;
  const unit = atomIndex(variable('@unit', size / together - 1));
  const positions = columnsAt(unit, width, half);
  const others: IndexMap = new Map(
    contract.type.axes.map(({ name, size: own }) => [
      name,
      own === 1 ? constantIndex(0) : atomIndex(loopVariable(`@${name}`, sizeIndex(own))),
    ]),
  );
  const isMade = (index: IndexMap): boolean =>
    contract.type.axes.every(({ name }) => {
      const own = indexAlong(index, name).key;
      return name === column
        ? positions.some((position) => add(position, constantIndex(start)).key === own)
        : own === others.get(name)?.key;
    });
  const reads = (node: Node, index: IndexMap): boolean => {
    if (node === contract) return isMade(index);
    if (!nodes.has(node)) return true;
    if (node.op.kind !== 'view') return node.inputs.every((x) => reads(x, index));
    const [x] = node.inputs;
    if (x === undefined) return false;
    const own = new Map(node.type.axes.map(({ name }) => [name, indexAlong(index, name)]));
    const below = node.op.source(indexMath, own, node.attrs, x.type);
    return below.guards.every(alwaysHolds) && reads(x, below.index);
  };
  return positions.every((position) => reads(root, indexAfter(path, new Map(others).set(column, position))));
}
