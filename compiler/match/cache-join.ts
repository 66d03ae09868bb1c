// A cache that grows in place. `concat(state[0 … n), x)` with the update `state[n …) = x` is, after the update, the state's own first
// part: x is written where it belongs before anything reads the whole, and nothing is copied.
import { sizesEqual } from '../../dsl/axis/axis.ts';
import type { Graph, Node, Update } from '../../dsl/graph/graph.ts';
import { slice } from '../../dsl/ops/view.ts';

export interface CacheJoin {
  readonly join: Node;
  /** The new part. */
  readonly part: Node;
  readonly update: Update;
}

/**
 * The joins of a graph that can live in their state. Sound because every reader of the state reads only what the update leaves alone, and
 * the new part, which is written first, waits for none of them.
 */
export function findCacheJoins(
  graph: Graph,
  nodes: readonly Node[],
  readers: ReadonlyMap<Node, readonly Node[]>,
): readonly CacheJoin[] {
  const parts = new Map<Node, Node>();
  return candidates(graph, nodes, readers).filter(({ join: { inputs }, part }) => {
    const [old] = inputs;
    if (old === undefined || waitsFor(part, old, parts)) return false;
    parts.set(old, part);
    return true;
  });
}

/** Whether a new part is computed from the old one of its own state, be it through a state whose old part waits for its own new one. */
function waitsFor(part: Node, old: Node, parts: ReadonlyMap<Node, Node>): boolean {
  const seen = new Set<Node>();
  const open = [part];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (node === old) return true;
    if (seen.has(node)) continue;
    seen.add(node);
    open.push(...node.inputs);
    const other = parts.get(node);
    if (other !== undefined) open.push(other);
  }
  return false;
}

function candidates(
  graph: Graph,
  nodes: readonly Node[],
  readers: ReadonlyMap<Node, readonly Node[]>,
): readonly CacheJoin[] {
  const outputs = new Set(graph.outputs.values());
  return nodes.flatMap((join): readonly CacheJoin[] => {
    const [old, part] = join.inputs;
    const [state] = old?.inputs ?? [];
    if (
      join.op.kind !== 'join' ||
      join.inputs.length !== 2 ||
      old === undefined ||
      part === undefined ||
      state === undefined ||
      outputs.has(join) ||
      outputs.has(part) ||
      outputs.has(state)
    )
      return [];
    const { axis } = join.op.read(join.attrs);
    if (state.op.kind !== 'source' || !isStart(old, axis)) return [];
    const updates = graph.updates.filter((u) => u.state === state);
    const [update] = updates;
    const start = update?.at.get(axis);
    const length = old.type.axes.find((a) => a.name === axis)?.size;
    const others = [...(update?.at ?? [])].every(([name, at]) => name === axis || at === 0);
    if (
      updates.length !== 1 ||
      update === undefined ||
      update.value !== part ||
      !others ||
      start === undefined ||
      length === undefined ||
      !sizesEqual(start, length)
    )
      return [];
    const shape = state.type.axes.every(
      (a, i) =>
        join.type.axes[i]?.name === a.name && (a.name === axis || sizesEqual(join.type.axes[i]?.size ?? -1, a.size)),
    );
    const untouched = (readers.get(state) ?? []).every((r) => r === old);
    return shape && untouched ? [{ join, part, update }] : [];
  });
}

/** A slice from the start of the axis. */
function isStart(node: Node, axis: string): boolean {
  if (node.op.kind !== 'view' || node.op.shows !== 'range') return false;
  const taken = slice.read(node.attrs);
  return taken.axis === axis && taken.start === 0 && taken.step === 1;
}

/**
 * Updates whose value can be computed where it belongs: nothing reads the state in this run, so that its old value is not missed and
 * readers of the new value read it there.
 */
export function findDirectUpdates(graph: Graph, readers: ReadonlyMap<Node, readonly Node[]>): readonly Update[] {
  const outputs = new Set(graph.outputs.values());
  return graph.updates.filter((update) => {
    const { state, value } = update;
    const alone = graph.updates.every((u) => u === update || (u.state !== state && u.value !== value));
    const isAligned = state.type.axes.every((a, i) => a.name === value.type.axes[i]?.name);
    return (
      alone &&
      isAligned &&
      (readers.get(state) ?? []).length === 0 &&
      !outputs.has(state) &&
      !outputs.has(value) &&
      value.op.kind !== 'source'
    );
  });
}
