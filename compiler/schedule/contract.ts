// What both contraction templates share: which operand gives rows, which columns, how the three axes are walked, and the epilogue.
import { hold, storeRoots, storeRanges } from './epilogue.ts';
import { axisOf, type Axis } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { roles } from '../../dsl/ops/contract.ts';
import type { Code } from '../../dsl/wgsl.ts';
import type { Group } from '../fuse/group.ts';
import { add, clamp, constantIndex, divide, scale, type Index } from '../index/index-math.ts';
import type { Block } from '../kernel/kernel.ts';
import type { Width } from '../kernel/element-format.ts';
import { quad } from '../kernel/quad.ts';
import type { IndexMap } from '../kernel/storage.ts';
import { inHalf } from '../match/column-ranges.ts';
import { count, elementAt, flatStem, isQuartered, namedAxes, takeApart, type Frame } from './frame.ts';

export interface Product {
  readonly node: Node;
  /** Gives the rows. */
  readonly a: Node;
  /** Gives the columns; its columns are contiguous where possible. */
  readonly b: Node;
  readonly batch: readonly Axis[];
  readonly rows: readonly Axis[];
  readonly columns: readonly Axis[];
  readonly sum: readonly Axis[];
  readonly m: Index;
  readonly n: Index;
  readonly k: Index;
  /** What flat indices over these axes are called in the kernel; of columns, one that counts vectors where the width is 4. */
  readonly names: { readonly batch: string; readonly row: string; readonly column: string; readonly sum: string };
  /** 4 when four neighbouring columns are computed as one vector. */
  readonly width: Width;
  /** Of the node's columns, which come in pairs of halves of this length, only the first or the second half of each. */
  readonly ofHalves?: { readonly length: number; readonly which: 0 | 1 };
}

/** The contraction as batch × rows × columns × sum: the result's last axis is among the columns. */
export function productOf(contract: Node): Product {
  const [first, second] = contract.inputs;
  if (first === undefined || second === undefined) throw new TypeError('a contraction without operands');
  const last = contract.type.axes.at(-1);
  const forward = roles(first.type, second.type, contract.type);
  const swap = last !== undefined && forward.rows.some((x) => x.name === last.name);
  const [a, b] = swap ? [second, first] : [first, second];
  const { batch, rows, columns } = swap ? { ...forward, rows: forward.columns, columns: forward.rows } : forward;
  // The summed axes in the order of the row operand, so that its loads run along memory.
  const sum = a.type.axes
    .filter((x) => forward.sum.some((s) => s.name === x.name))
    .map((x) => axisOf(forward.sum, x.name) ?? x);
  const width: Width = isQuartered(columns.at(-1)) ? 4 : 1;
  const names = {
    batch: flatStem(batch),
    row: rows.length === 0 ? 'row' : flatStem(rows),
    column: columns.length === 0 ? 'column' : flatStem(columns, width),
    sum: sum.length === 0 ? 'term' : flatStem(sum),
  };
  const [m, n, k] = [count(rows), count(columns), count(sum)];
  return { node: contract, a, b, batch, rows, columns, sum, m, n, k, names, width };
}

/** All products that a kernel makes of the same rows, the one that gives its index first: also both halves of one, where a thread has both. */
export function productsOf(group: Extract<Group, { template: 'contract' }>): readonly [Product, ...Product[]] {
  const product = productOf(group.contract);
  const length = group.ranges?.half;
  if (length === undefined) return [product, ...(group.beside ?? []).map(productOf)];
  const columns = product.columns.map(({ name, size }): Axis => ({ name, size: Number(size) / 2 }));
  const half = (which: 0 | 1): Product => ({ ...product, columns, n: count(columns), ofHalves: { length, which } });
  return [half(0), half(1)];
}

/** Where a row, a column and a place in the sum lie along every axis; in `body`, where it is given, each axis has a name. */
export function indexOf(
  product: Product,
  batch: IndexMap,
  m: Index,
  n: Index | undefined,
  k: Index | undefined,
  body?: Block,
): IndexMap {
  const each = (flat: Index, axes: readonly Axis[]) =>
    body === undefined ? takeApart(flat, axes) : namedAxes(body, flat, axes);
  const { ofHalves } = product;
  const ofColumn = (at: Index): Index => (ofHalves === undefined ? at : inHalf(at, ofHalves.length, ofHalves.which));
  return new Map([
    ...batch,
    ...each(m, product.rows),
    ...(n === undefined
      ? []
      : [...each(n, product.columns)].map(([name, at]): [string, Index] => [name, ofColumn(at)])),
    ...(k === undefined ? [] : takeApart(k, product.sum)),
  ]);
}

/** Where a thread writes: a row, and the unit that it counts columns by. */
interface Written {
  readonly batch: IndexMap;
  readonly row: Index;
  readonly unit: Index;
}

/**
 * Writes one element (or one vector) of the results, each of them with one value: the accumulators through the maps that follow the
 * contraction. Returns where that is.
 */
export function storeProducts(
  frame: Frame,
  body: Block,
  group: Extract<Group, { template: 'contract' }>,
  { batch, row, unit }: Written,
  values: readonly Code[],
): IndexMap {
  const [product, ...others] = productsOf(group);
  const { node, width } = product;
  if (group.ranges !== undefined) {
    const index = indexOf(product, batch, row, undefined, undefined, body);
    storeRanges(
      frame,
      body,
      { contract: node, ranges: group.ranges, width, stem: product.names.column },
      { index, unit },
      values,
    );
    return index;
  }
  const index = indexOf(product, batch, row, elementAt(unit, width), undefined, body);
  const [value, ...guests] = values;
  others.forEach(({ node: anchor, columns }, p) => {
    const guest = guests[p];
    if (guest !== undefined) hold(frame, { anchor, value: guest, width, vector: columns.at(-1)?.name });
  });
  const vector = product.columns.at(-1)?.name;
  if (value !== undefined) storeRoots(frame, body, group, index, { anchor: node, value, width, vector });
  return index;
}

/** What a kernel says of ranges of columns that it stores apart. */
export function rangesText({ ranges }: Extract<Group, { template: 'contract' }>): string {
  if (ranges === undefined) return '';
  return `, ${ranges.each.length} ranges of columns apart${ranges.half === undefined ? '' : ', halves of heads together'}`;
}

/** A column index brought into range; vectors stay whole. */
export function inRange(column: Index, n: Index, width: 1 | 4): Index {
  if (width === 1) return clamp(column, n);
  const unit = divide(add(column, scale(quad, -1)), constantIndex(4));
  return add(scale(clamp(unit, divide(n, constantIndex(4))), 4), quad);
}
