// A node over what its operands have become.
import type { Builder, Node } from '../../dsl/graph/graph.ts';

/** The node itself, where they have stayed what they were; a node of `builder` otherwise. */
export function rebuilt(node: Node, become: (input: Node) => Node, builder: Builder): Node {
  const inputs = node.inputs.map(become);
  return inputs.every((input, i) => input === node.inputs[i]) ? node : builder.remake(node, inputs);
}
