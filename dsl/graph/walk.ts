// Walks over a graph: its nodes in order, who reads them, and the graph with some of them replaced.
import type { Graph, Node } from './graph.ts';
import { requireFields, requireGraph, requireList } from './required.ts';

/** What tells a node from what is none. */
export const nodeFields = { op: 'object', inputs: 'object', origin: 'object' } as const;

/**
 * Every node that the outputs and updates need, operands before users.
 * @example order(graph).length
 */
export function order(graph: Graph): readonly Node[] {
  return orderFrom(roots(graph));
}

/**
 * The nodes that a run is for: outputs, then the values and states of updates.
 * @example roots(graph)
 */
export function roots(graph: Graph): readonly Node[] {
  requireGraph('roots', graph);
  return [...graph.outputs.values(), ...graph.updates.flatMap((u) => [u.state, u.value])];
}

/**
 * These nodes and all that they need, operands before their readers.
 * @example orderFrom([gelu(x).node]).length
 */
export function orderFrom(starts: readonly Node[]): readonly Node[] {
  requireList('orderFrom', starts, 'the nodes', 'orderFrom([x.node])');
  for (const start of starts) requireFields('orderFrom', start, nodeFields, 'x.node', 'a node');
  const done = new Set<Node>();
  // An explicit stack: a decoder of 80 layers is deeper than the call stack likes.
  const stack: { readonly node: Node; next: number }[] = [];
  for (const start of starts) {
    if (done.has(start)) continue;
    stack.push({ node: start, next: 0 });
    while (stack.length > 0) {
      const top = stack[stack.length - 1];
      if (top === undefined) break;
      const child = top.node.inputs[top.next++];
      if (child === undefined) {
        done.add(top.node);
        stack.pop();
      } else if (!done.has(child)) {
        stack.push({ node: child, next: 0 });
      }
    }
  }
  return [...done];
}

/** The graph with each output, state and value replaced. */
export function mapGraph(graph: Graph, replace: (node: Node) => Node): Graph {
  return {
    outputs: new Map([...graph.outputs].map(([name, node]) => [name, replace(node)])),
    updates: graph.updates.map((update) => ({ ...update, state: replace(update.state), value: replace(update.value) })),
  };
}

/** The value of a key that must be there. */
export function must<K, V>(map: ReadonlyMap<K, V>, key: K): V {
  const value = map.get(key);
  if (value === undefined) throw new TypeError('a node was reached before its operands');
  return value;
}

/** The readers of each node, each once. */
export function readersOf(nodes: readonly Node[]): ReadonlyMap<Node, readonly Node[]> {
  const readers = new Map<Node, Node[]>();
  for (const node of nodes) {
    for (const input of new Set(node.inputs)) {
      const known = readers.get(input);
      if (known === undefined) readers.set(input, [node]);
      else known.push(node);
    }
  }
  return readers;
}

/** More maps than this are not looked at. */
const mostMaps = 32;

/** The maps that read a tensor, directly or through other maps: what it goes through before it meets anything else. */
export function mapsAfter(node: Node, readers: ReadonlyMap<Node, readonly Node[]>): ReadonlySet<Node> {
  const maps = new Set<Node>();
  const open = [node];
  for (let next = open.pop(); next !== undefined && maps.size < mostMaps; next = open.pop()) {
    for (const reader of readers.get(next) ?? []) {
      if (reader.op.kind !== 'map' || maps.has(reader)) continue;
      maps.add(reader);
      open.push(reader);
    }
  }
  return maps;
}
