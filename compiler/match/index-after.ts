// Where an element goes through maps and one-to-one views.
import type { Node } from '../../dsl/graph/graph.ts';
import { constantIndex, indexMath } from '../index/index-math.ts';
import type { IndexMap } from '../kernel/storage.ts';

/** Whether a view only places what it shows: one to one, or with new axes of size 1. */
export function isPlacing({ op, type, inputs }: Node): boolean {
  if (op.kind !== 'view') return false;
  if (op.target !== undefined) return true;
  const old = new Set(inputs[0]?.type.axes.map(({ name }) => name));
  return op.shows === 'repeated' && type.axes.every(({ name, size }) => old.has(name) || size === 1);
}

/** The index of the last of these nodes, each of which reads the one before, from the index of what the first reads. */
export function indexAfter(nodes: readonly Node[], index: IndexMap): IndexMap {
  return nodes.reduce<IndexMap>((current, node) => {
    const [x] = node.inputs;
    const { op } = node;
    if (op.kind !== 'view' || x === undefined || !isPlacing(node)) return current;
    if (op.target !== undefined) return op.target(indexMath, current, node.attrs, x.type);
    return new Map(node.type.axes.map(({ name }) => [name, current.get(name) ?? constantIndex(0)]));
  }, index);
}
