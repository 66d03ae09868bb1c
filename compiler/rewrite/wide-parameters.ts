// Parameters that are stored in half precision, for a device that has none: where they are widened whenever they are read, they are wide already
// when they come to it.
import { Builder, roleOf, type Graph, type Node } from '../../dsl/graph/graph.ts';
import { mapGraph, must, order, readersOf, roots } from '../../dsl/graph/walk.ts';
import { isWidening } from './load-time.ts';

/** The same values; a parameter that anything else reads stays what it is. */
export function withWideParameters(graph: Graph): Graph {
  const nodes = order(graph);
  const readers = readersOf(nodes);
  const kept = new Set(roots(graph));
  const isWidened = (node: Node): boolean =>
    roleOf(node) === 'param' &&
    node.type.dtype === 'f16' &&
    !kept.has(node) &&
    (readers.get(node) ?? []).every(isWidening);
  const widened = new Set(nodes.filter(isWidened));
  if (widened.size === 0) return graph;
  const builder = new Builder();
  const made = new Map<Node, Node>();
  for (const node of nodes) {
    const [x] = node.inputs;
    if (x !== undefined && widened.has(x)) {
      made.set(node, must(made, x));
      continue;
    }
    const inputs = node.inputs.map((input) => must(made, input));
    const attrs = widened.has(node) ? { ...node.attrs, dtype: 'f32' } : node.attrs;
    made.set(node, builder.make(node.op, inputs, attrs, node.origin));
  }
  return mapGraph(graph, (node) => must(made, node));
}
