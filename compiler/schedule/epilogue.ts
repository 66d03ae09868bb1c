// What an anchor computed goes through the maps that follow it in the kernel, and is written where it belongs.
import type { Node } from '../../dsl/graph/graph.ts';
import type { Group } from '../fuse/group.ts';
import type { Code } from '../../dsl/wgsl.ts';
import { constantIndex } from '../index/index-math.ts';
import type { Block } from '../kernel/kernel.ts';
import type { Width } from '../kernel/element-format.ts';
import type { IndexMap } from '../kernel/storage.ts';
import { component, throughChain, type Frame } from './frame.ts';

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
  const target = throughChain(group.chain, index);
  for (const root of group.roots)
    if (!isStatistic(root, group))
      lowering.store(body, context.target(root), target, lowering.value(body, root, target, made.width), made.width);
}

function isStatistic(root: Node, group: Group): boolean {
  if (group.template === 'contract') return group.leaves?.results.includes(root) === true;
  if (group.template !== 'attention' || !group.storesStatistics) return false;
  return root === group.attention.largest || root === group.attention.total;
}
