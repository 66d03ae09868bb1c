// What is computed a second time: nothing it is made of is new, so it can be made at any moment, and is best made where it is read.
import type { Node } from '../../dsl/graph/graph.ts';

/** The nodes that stand behind `again`, and read nothing beside it but what is made of sources by maps and views. `nodes`: operands first. */
export function computedAgain(nodes: readonly Node[]): ReadonlySet<Node> {
  const [found, given] = [new Set<Node>(), new Set<Node>()];
  for (const node of nodes) {
    const { op, inputs } = node;
    const isOfThem = inputs.every((input) => found.has(input) || given.has(input));
    if (op.kind === 'map' && op.apart) found.add(node);
    else if (op.kind === 'source') given.add(node);
    else if (isOfThem && inputs.some((input) => found.has(input))) found.add(node);
    else if (isOfThem && (op.kind === 'map' || op.kind === 'view')) given.add(node);
  }
  return found;
}
