// Folds that depend on one another: level 1 needs no other fold of the group, level 2 needs results of level 1, and so on.
import type { Node } from '../../dsl/graph/graph.ts';

export function foldLevels(folds: readonly Node[], nodes: ReadonlySet<Node>): readonly (readonly Node[])[] {
  const level = new Map<Node, number>();
  const levelOf = (n: Node): number => {
    const known = level.get(n);
    if (known !== undefined) return known;
    const below = n.inputs.filter((x) => nodes.has(x)).reduce((most, x) => Math.max(most, levelOf(x)), 0);
    const own = n.op.kind === 'fold' ? below + 1 : below;
    level.set(n, own);
    return own;
  };
  const levels: Node[][] = [];
  for (const fold of folds) (levels[levelOf(fold) - 1] ??= []).push(fold);
  return levels;
}
