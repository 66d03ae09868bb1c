// What an anchor computed goes through the maps that follow it in the kernel, and is written where it belongs.
import type { Node } from '../../dsl/graph/graph.ts';
import type { Group } from '../fuse/group.ts';
import type { Code } from '../../dsl/wgsl.ts';
import { add, constantIndex, isConstant, scale, type Index } from '../index/index-math.ts';
import { indexText } from '../index/index-text.ts';
import type { Block } from '../kernel/kernel.ts';
import type { Width } from '../kernel/element-format.ts';
import { onLane } from '../kernel/quad.ts';
import { indexAlong, type IndexMap } from '../kernel/storage.ts';
import { columnsAt, type ColumnRanges } from '../match/column-ranges.ts';
import { indexAfter } from '../match/index-after.ts';
import { component, type Frame } from './frame.ts';

export interface Made {
  /** The node that the template computes. */
  readonly anchor: Node;
  /** One element of it, or four neighbours along the axis `vector`. */
  readonly value: Code;
  readonly width: Width;
  readonly vector: string | undefined;
}

/** What a template made, for the maps behind it. */
export function hold({ lowering }: Frame, { anchor, value, width, vector = '' }: Made): void {
  lowering.held.set(anchor, (_block, at, wanted) =>
    wanted === width ? value : component(value, at.get(vector) ?? constantIndex(0)),
  );
}

/** The largest logit of a row of attention, and the sum of e^(logit − largest): stored where others read them. */
export function storeStatistics(
  { lowering, context }: Frame,
  body: Block,
  { attention, storesStatistics }: Extract<Group, { template: 'attention' }>,
  row: IndexMap,
  { largest, total }: { readonly largest: Code; readonly total: Code },
): void {
  if (!storesStatistics) return;
  lowering.store(body, context.target(attention.largest), row, largest, 1);
  lowering.store(body, context.target(attention.total), row, total, 1);
}

/** Writes the roots of a group at the index of what was made. */
export function storeRoots(
  frame: Frame,
  body: Block,
  group: Extract<Group, { chain: readonly Node[] }>,
  index: IndexMap,
  made: Made,
): void {
  const { lowering, context } = frame;
  hold(frame, made);
  const target = indexAfter(group.chain, index);
  for (const root of group.roots)
    if (!isStatistic(root, group))
      lowering.store(body, context.target(root), target, lowering.value(body, root, target, made.width), made.width);
}

/** A product whose ranges of columns go to places of their own. */
interface Ranged {
  readonly contract: Node;
  readonly ranges: ColumnRanges;
  readonly width: Width;
  /** What columns are called in the kernel. */
  readonly stem: string;
}

/** Writes what becomes of the columns that a thread has made, where their range belongs. `unit` counts what a thread makes at once. */
export function storeRanges(
  { lowering, context }: Frame,
  body: Block,
  { contract, ranges: { column, each, half }, width, stem }: Ranged,
  { index, unit }: { readonly index: IndexMap; readonly unit: Index },
  values: readonly Code[],
): void {
  for (const { start, size, path, root } of each) {
    const [first, count] = [start, size].map((n) => n / width / values.length);
    if (first === undefined || count === undefined) continue;
    const [from, end] = [`${indexText(unit)} >= ${first}u`, `${indexText(unit)} < ${first + count}u`];
    body.when(first === 0 ? end : `${from} && ${end}`, (inside) => {
      const own = inside.index(stem, `${indexText(unit)} - ${first}u`, constantIndex(count));
      const columns = columnsAt(own, width, half);
      lowering.held.set(contract, (_block, at, wanted) => {
        const wantedColumn = add(indexAlong(at, column), constantIndex(-start));
        for (const [i, made] of columns.entries()) {
          const value = values[i];
          const lane = add(wantedColumn, scale(wanted === width ? made : onLane(made, 0), -1));
          if (value === undefined || !isConstant(lane) || lane.constant < 0 || lane.constant >= width / wanted)
            continue;
          return wanted === width ? value : component(value, lane);
        }
        throw new TypeError('a column that this thread does not make');
      });
      for (const at of columns) {
        const target = indexAfter(path, new Map(index).set(column, at));
        lowering.store(inside, context.target(root), target, lowering.value(inside, root, target, width), width);
      }
    });
  }
}

function isStatistic(root: Node, group: Group): boolean {
  if (group.template === 'contract') return group.leaves?.results.includes(root) === true;
  if (group.template !== 'attention' || !group.storesStatistics) return false;
  return root === group.attention.largest || root === group.attention.total;
}
