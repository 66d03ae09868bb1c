// A view that gives axes other names or another order, and does nothing else.
import type { Node } from '../../dsl/graph/graph.ts';
import { rearrange } from '../../dsl/ops/view.ts';

/** For a rearrange that only renames and permutes: the new name of each axis. */
export function renaming(node: Node): ReadonlyMap<string, string> | undefined {
  const [x] = node.inputs;
  if (node.op !== rearrange || x === undefined) return undefined;
  const attrs = rearrange.read(node.attrs);
  if (
    attrs.merge.length !== x.type.axes.length ||
    attrs.split.some((parts) => parts.length !== 1) ||
    attrs.merge.some((merged) => merged.parts.length !== 1)
  )
    return undefined;
  const names = new Map(attrs.merge.map((merged) => [merged.parts[0], merged.name]));
  return new Map(x.type.axes.map((axis, i) => [axis.name, names.get(attrs.split[i]?.[0]) ?? axis.name]));
}
