// States that are written over by the kernel that reads them: a parameter, its moments and its average change in one dispatch, and nothing is copied.
import { sameAxes } from '../../dsl/axis/axes.ts';
import { roleOf, type Graph, type Node, type Update } from '../../dsl/graph/graph.ts';
import { operandsOf, type BindingBudget } from './bindings.ts';
import type { InPlaceUpdates } from './group.ts';

interface Cluster {
  readonly updates: Update[];
  /** Maps on all axes of the states, between what is read and what is written. */
  readonly cone: Set<Node>;
}

/**
 * Sound because such a kernel computes element i of a state from element i of states that it writes (through maps alone), keeps all its results
 * before it stores the first, runs after every other reader of these states, and nothing waits for it: its results are read in the next run.
 */
export function findInPlaceUpdates(
  graph: Graph,
  readers: ReadonlyMap<Node, readonly Node[]>,
  owned: (node: Node) => boolean,
  budget: BindingBudget,
): readonly InPlaceUpdates[] {
  const outputs = new Set(graph.outputs.values());
  const candidates = graph.updates.filter((update) => isCandidate(update, graph, outputs, owned));
  const clusters = connected(candidates, owned);
  const sound = clusters.filter((cluster) => isSound(cluster, readers, outputs, owned, budget));
  return withoutCycles(sound, owned).map(({ updates, cone }) => ({
    updates,
    group: { template: 'map', nodes: cone, roots: updates.map((update) => update.value) },
  }));
}

function isCandidate(
  { state, value, at }: Update,
  graph: Graph,
  outputs: ReadonlySet<Node>,
  owned: (node: Node) => boolean,
): boolean {
  const alone = graph.updates.every(
    (u) => (u.state === state && u.value === value) || (u.state !== state && u.value !== value),
  );
  return (
    alone &&
    [...at.values()].every((start) => start === 0) &&
    value.op.kind === 'map' &&
    !owned(value) &&
    !outputs.has(value) &&
    !outputs.has(state) &&
    sameAxes(state.type.axes, value.type.axes)
  );
}

/** Maps from a value down to what is read from memory or has fewer axes. */
function coneOf(value: Node, owned: (node: Node) => boolean): ReadonlySet<Node> {
  const cone = new Set<Node>();
  const open = [value];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (cone.has(node) || node.op.kind !== 'map' || owned(node) || !sameAxes(node.type.axes, value.type.axes)) continue;
    cone.add(node);
    open.push(...node.inputs);
  }
  return cone;
}

/** Updates that compute something together belong together. */
function connected(updates: readonly Update[], owned: (node: Node) => boolean): readonly Cluster[] {
  const clusters = new Set<Cluster>();
  const clusterOf = new Map<Node, Cluster>();
  for (const update of updates) {
    const made: Cluster = { updates: [update], cone: new Set(coneOf(update.value, owned)) };
    const near = new Set([...made.cone].flatMap((node) => clusterOf.get(node) ?? []));
    for (const other of near) {
      made.updates.unshift(...other.updates);
      for (const node of other.cone) made.cone.add(node);
      clusters.delete(other);
    }
    clusters.add(made);
    for (const node of made.cone) clusterOf.set(node, made);
  }
  return [...clusters];
}

function isSound(
  { updates, cone }: Cluster,
  readers: ReadonlyMap<Node, readonly Node[]>,
  outputs: ReadonlySet<Node>,
  owned: (node: Node) => boolean,
  budget: BindingBudget,
): boolean {
  const states = new Set(updates.map((update) => update.state));
  const isAlone = updates.every(({ value }) => (readers.get(value) ?? []).every((reader) => cone.has(reader)));
  if (!isAlone || [...cone].some((node) => outputs.has(node))) return false;
  // Beside the maps nothing may look at other elements of a state that is written.
  const beside = [...cone].flatMap((node) => node.inputs).filter((input) => !cone.has(input) && !states.has(input));
  if ([...statesUnder(beside, owned)].some((state) => states.has(state))) return false;
  const bound = new Set([...operandsOf(cone, budget), ...states]);
  return [...bound].reduce((sum, node) => sum + budget.of(node), 0) <= budget.most;
}

/** States that these nodes are computed from without a kernel of their own in between. */
function statesUnder(nodes: readonly Node[], owned: (node: Node) => boolean): ReadonlySet<Node> {
  const [found, seen] = [new Set<Node>(), new Set<Node>()];
  const open = [...nodes];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (seen.has(node)) continue;
    seen.add(node);
    if (roleOf(node) === 'state') found.add(node);
    else if (!owned(node)) open.push(...node.inputs);
  }
  return found;
}

/** A kernel waits for all that read what it writes: two that read each other's states would wait for each other. */
function withoutCycles(clusters: readonly Cluster[], owned: (node: Node) => boolean): readonly Cluster[] {
  const writer = new Map(
    clusters.flatMap((cluster) => cluster.updates.map(({ state }): [Node, Cluster] => [state, cluster])),
  );
  const below = new Map(
    clusters.map((cluster) => [
      cluster,
      new Set(
        [...statesUnder([...cluster.cone], owned)]
          .flatMap((state) => writer.get(state) ?? [])
          .filter((other) => other !== cluster),
      ),
    ]),
  );
  const reachesItself = (start: Cluster): boolean => {
    const seen = new Set<Cluster>();
    const open = [...(below.get(start) ?? [])];
    for (let cluster = open.pop(); cluster !== undefined; cluster = open.pop()) {
      if (cluster === start) return true;
      if (seen.has(cluster)) continue;
      seen.add(cluster);
      open.push(...(below.get(cluster) ?? []));
    }
    return false;
  };
  return clusters.filter((cluster) => !reachesItself(cluster));
}
