// Gradients of a finished graph, for tools: tests, the fuzzer, plans.
import { OpabiniaError, nearestNames } from '../error.ts';
import { Builder, roleOf, type Graph, type Node } from '../graph/graph.ts';
import { mapGraph, must, order } from '../graph/walk.ts';
import { gradientNodes } from './gradients.ts';
import { nameOf } from '../ops/source.ts';

/**
 * The graph with an output `d NAME` for each named input, parameter or state: the gradient of the output `loss`. A name that the loss does
 * not depend on has none. Throws `OpabiniaError` for unknown names, and as `gradients` does.
 */
export function gradientGraph(graph: Graph, loss: string, wrt: readonly string[]): Graph {
  const builder = new Builder();
  const copies = new Map<Node, Node>();
  const copy = (node: Node): Node => must(copies, node);
  for (const node of order(graph)) copies.set(node, builder.remake(node, node.inputs.map(copy)));
  const named = new Map<string, Node>();
  for (const node of copies.values()) {
    const role = roleOf(node);
    if (role === 'input' || role === 'param' || role === 'state') named.set(nameOf(node), node);
  }
  const find = (among: ReadonlyMap<string, Node>, name: string): Node => {
    const node = among.get(name);
    if (node !== undefined) return node;
    const near = nearestNames(name, among.keys());
    throw new OpabiniaError(`there is no '${name}'`, {
      op: 'gradients',
      advice: near.length === 0 ? undefined : `the nearest are ${near.map((n) => `'${n}'`).join(', ')}`,
    });
  };
  const copied = mapGraph(graph, copy);
  const outputs = new Map(copied.outputs);
  const found = gradientNodes(
    builder,
    find(outputs, loss),
    wrt.map((name) => find(named, name)),
  );
  for (const [i, name] of wrt.entries()) {
    const gradient = found[i];
    if (gradient !== undefined) outputs.set(`d ${name}`, gradient);
  }
  return { outputs, updates: copied.updates };
}
