// Reductions that depend on one another: level 1 needs no other reduction of the group, level 2 needs results of level 1, and so on.
import type { Node } from '../../dsl/graph/graph.ts';

export function reduceLevels(reductions: readonly Node[], nodes: ReadonlySet<Node>): readonly (readonly Node[])[] {
  const level = new Map<Node, number>();
  const levelOf = (n: Node): number => {
    const known = level.get(n);
    if (known !== undefined) return known;
    const below = n.inputs.filter((x) => nodes.has(x)).reduce((most, x) => Math.max(most, levelOf(x)), 0);
    const own = n.op.kind === 'reduce' ? below + 1 : below;
    level.set(n, own);
    return own;
  };
  const levels: Node[][] = [];
  for (const reduction of reductions) (levels[levelOf(reduction) - 1] ??= []).push(reduction);
  return levels;
}
