// What a backward pass reads of the forward pass is kept until then, or computed again from what is kept anyway. Which values are kept is the
// cheapest cut between what is read late and the kernels that made it (Jain et al. 2020, "Checkmate", and PyTorch's partitioner of joint
// graphs choose so too): maps and views may be computed again, everything else is kept.
import { sameAxes } from '../../dsl/axis/axes.ts';
import type { Builder, Graph, Node } from '../../dsl/graph/graph.ts';
import { mapGraph, must, order, readersOf } from '../../dsl/graph/walk.ts';
import { isFloat } from '../../dsl/graph/op.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { bytesOf, flopsOf } from '../cost.ts';
import { findAttention, isClosed } from '../match/attention/attention.ts';
import { findRowWrites } from '../match/row-write.ts';
import { storesScores } from '../match/attention/score-region.ts';
import { choicesOf, type DeviceProfile } from '../profile.ts';
import { isFixed } from '../rewrite/fixed.ts';
import type { GraphPass } from '../rewrite/pass.ts';
import { rebuilt } from '../rewrite/rebuilt.ts';
import { leastCut } from './least-cut.ts';

/** Of the bytes that are kept, this part must be saved, or the graph stays as it is. */
const leastGain = 0.02;

/** A value smaller than this part of the largest that is kept is not worth a second computation, however many layers there are. */
const leastPart = 1 / 32;

type Readers = (node: Node) => readonly Node[];

/** The nodes of a graph on both sides of its turn: where the most is kept for products that are yet to come. */
interface Sides {
  /** Nodes that a kernel behind the turn makes, or that need one. */
  readonly late: ReadonlySet<Node>;
  /** What is made before, and read by what is late. */
  readonly read: readonly Node[];
}

/**
 * Sound because a node behind `again` is the same function of the same operands. It pays where values are kept over the fullest moment of a
 * run though what they are made of is kept as well, and where computing one again takes less time than to write it once and read it again.
 */
export const recomputation: GraphPass = recomputationOf(learns);

/** The same for graphs of another choice. */
export function recomputationOf(applies: (graph: Graph) => boolean): GraphPass {
  return {
    name: 'recompute',
    why: 'what a backward pass can compute again from what it keeps anyway is not kept',
    run(graph, builder, fire, profile) {
      if (profile === undefined || !choicesOf(profile).recomputes || !applies(graph)) return graph;
      const nodes = order(graph);
      const known = readersOf(nodes);
      const readers: Readers = (node) => known.get(node) ?? [];
      const sides = sidesOf(nodes, readers);
      const given = givenIn(nodes);
      const again = recomputed(sides, nodes, given, readers, profile);
      return again.values.size === 0 ? graph : rewritten(graph, nodes, sides.late, given, again, builder, fire);
    },
  };
}

/** True where floats in states are written over by maps of themselves, as parameters are; a cache is written in places, a position is not a float. */
function learns(graph: Graph): boolean {
  const inPlaces = new Set(findRowWrites(graph, readersOf(order(graph))).map((write) => write.update));
  return graph.updates.some(
    (update) =>
      !inPlaces.has(update) &&
      isFloat(update.state.type.dtype) &&
      sameAxes(update.value.type.axes, update.state.type.axes) &&
      isMapOf(update.value, update.state),
  );
}

/** True for a map that reads the state, directly or through other maps. */
function isMapOf(value: Node, state: Node, seen = new Set<Node>()): boolean {
  if (value.op.kind !== 'map' || seen.has(value)) return false;
  seen.add(value);
  return value.inputs.some((input) => input === state || isMapOf(input, state, seen));
}

const isMade = ({ op }: Node): boolean => op.kind !== 'map' && op.kind !== 'view' && op.kind !== 'source';

/**
 * The turn is where the values that products still wait for are most bytes: at the end of the forward pass. What a gradient of a parameter
 * leads to, its norm and its update, has no products, so it does not count.
 */
function sidesOf(nodes: readonly Node[], readers: Readers): Sides {
  const at = new Map(nodes.map((node, i) => [node, i]));
  const until = new Map<Node, number>();
  for (const node of nodes.toReversed()) {
    let last = -1;
    for (const reader of readers(node)) {
      const own = until.get(reader) ?? -1;
      if (reader.op.kind === 'view') last = Math.max(last, own);
      else if (reader.op.kind === 'contract' || own >= 0) last = Math.max(last, at.get(reader) ?? -1);
    }
    until.set(node, last);
  }
  const change = new Float64Array(nodes.length + 1);
  nodes.forEach((node, i) => {
    const last = until.get(node) ?? -1;
    if (node.op.kind === 'view' || node.op.kind === 'source' || isFixed(node) || last <= i) return;
    change[i] = (change[i] ?? 0) + bytesOf(node.type);
    change[last] = (change[last] ?? 0) - bytesOf(node.type);
  });
  let [turn, most, held] = [0, 0, 0];
  change.forEach((by, i) => {
    held += by;
    if (held > most) [turn, most] = [i, held];
  });
  const late = new Set<Node>();
  nodes.forEach((node, i) => {
    if ((isMade(node) && i > turn) || node.inputs.some((input) => late.has(input))) late.add(node);
  });
  const read = nodes.filter((node) => !late.has(node) && readers(node).some((reader) => late.has(reader)));
  return { late, read };
}

interface Recomputed {
  /** What late nodes read a copy of. */
  readonly values: ReadonlySet<Node>;
  /** These, and what they are made of, down to what is kept. */
  readonly nodes: ReadonlySet<Node>;
}

const none: Recomputed = { values: new Set(), nodes: new Set() };

/** What is computed a second time for what is late; nothing where that saves too little. */
function recomputed(
  { read }: Sides,
  nodes: readonly Node[],
  given: ReadonlySet<Node>,
  readers: Readers,
  profile: DeviceProfile,
): Recomputed {
  const { inside, operands } = attentions(nodes, readers, profile);
  const isFree = (node: Node): boolean => given.has(node) || operands.has(node);
  const wanted = read.filter((node) => !inside.has(node) && !isFree(underViews(node)));
  const kept = new Set(wanted.map(underViews));
  const before = [...kept].reduce((sum, node) => sum + bytesOf(node.type), 0);
  const least = [...kept].reduce((most, node) => Math.max(most, bytesOf(node.type)), 0) * leastPart;
  // A value that is shown many times over is small beside what reads it, and what a comparison compares must be the same to the last bit.
  const isPinned = (node: Node): boolean =>
    bytesOf(node.type) < least ||
    inside.has(node) ||
    readers(node).some(
      (reader) =>
        (reader.op.kind === 'map' && reader.op.jumps) || (reader.op.kind === 'view' && reader.op.shows === 'repeated'),
    );
  const dear = new Set<Node>();
  for (;;) {
    const open = wanted.filter((node) => !dear.has(underViews(node)));
    const cut = cutBetween(open, (node) => isFree(node) || dear.has(node), isPinned);
    const again = new Map(open.map((node) => [node, computedFor(node, (x) => cut.has(x) || isFree(x) || dear.has(x))]));
    const costly = open.filter((node) => !pays(node, again.get(node) ?? [], profile));
    if (costly.length > 0) {
      for (const node of costly) dear.add(underViews(node));
      continue;
    }
    const after = [...cut, ...dear].reduce((sum, node) => sum + bytesOf(node.type), 0);
    // A view alone is not computed.
    const computed = open.filter((node) => again.get(node)?.some(({ op }) => op.kind === 'map'));
    return after <= (1 - leastGain) * before
      ? { values: new Set(computed), nodes: new Set(computed.flatMap((node) => again.get(node) ?? [])) }
      : none;
  }
}

/** What is made of sources alone by maps and views: whoever reads it can compute it, and no kernel of the forward pass is in the way. */
function givenIn(nodes: readonly Node[]): ReadonlySet<Node> {
  const found = new Set<Node>();
  for (const node of nodes) {
    const isLight = node.op.kind === 'map' || node.op.kind === 'view';
    if (node.op.kind === 'source' || isFixed(node) || (isLight && node.inputs.every((input) => found.has(input))))
      found.add(node);
  }
  return found;
}

/** What attentions compute inside where others read it too: those kernels compute it for themselves, from the same operands. */
function attentions(
  nodes: readonly Node[],
  readers: Readers,
  profile: DeviceProfile,
): { readonly inside: ReadonlySet<Node>; readonly operands: ReadonlySet<Node> } {
  const [inside, operands] = [new Set<Node>(), new Set<Node>()];
  for (const node of nodes) {
    const found = node.op.kind === 'contract' ? findAttention(node, () => false) : undefined;
    if (found === undefined || isClosed(found, readers) || storesScores(found, choicesOf(profile))) continue;
    for (const inner of found.nodes) if (inner !== found.product) inside.add(inner);
  }
  for (const node of inside) for (const input of node.inputs) if (!inside.has(input)) operands.add(underViews(input));
  return { inside, operands };
}

function cutBetween(
  wanted: readonly Node[],
  isFree: (node: Node) => boolean,
  isPinned: (node: Node) => boolean,
): ReadonlySet<Node> {
  const numbers = new Map<Node, number>();
  const vertices: Node[] = [];
  const numberOf = (node: Node): number => {
    const found = numbers.get(node);
    if (found !== undefined) return found;
    numbers.set(node, vertices.length);
    return vertices.push(node) - 1;
  };
  const starts = wanted.map(numberOf);
  const [costs, next, ends]: [number[], number[][], Set<number>] = [[], [], new Set()];
  for (let v = 0; v < vertices.length; v++) {
    const node = vertices[v];
    if (node === undefined) continue;
    const isView = node.op.kind === 'view';
    const isAgain = isView || (node.op.kind === 'map' && !isPinned(node));
    // Nobody stores what a view shows, or the same number once more.
    costs.push(isView || isApart(node) ? Infinity : bytesOf(node.type));
    next.push(isAgain || isApart(node) ? node.inputs.filter((input) => !isFree(input)).map(numberOf) : []);
    if (next[v]?.length === 0 && !isAgain) ends.add(v);
  }
  return new Set([...leastCut({ costs, next, starts, ends })].flatMap((v) => vertices[v] ?? []));
}

const isApart = ({ op }: Node): boolean => op.kind === 'map' && op.apart;

/** A node and what it is made of, down to what is kept. */
function computedFor(node: Node, isKept: (node: Node) => boolean): readonly Node[] {
  const found = new Set<Node>();
  const open = [node];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    if (found.has(next) || isKept(next)) continue;
    found.add(next);
    open.push(...next.inputs);
  }
  return [...found];
}

/** Its arithmetic takes no longer than writing and reading it would. */
function pays(node: Node, again: readonly Node[], profile: DeviceProfile): boolean {
  const flops = again.reduce((sum, other) => sum + flopsOf(other), 0);
  return flops / profile.flopsPerSecond <= (2 * bytesOf(underViews(node).type)) / profile.bytesPerSecond;
}

function underViews(node: Node): Node {
  const [x] = node.inputs;
  return node.op.kind === 'view' && x !== undefined ? underViews(x) : node;
}

/** Late nodes read copies of what is computed again, which stand behind `again`: no kernel of the forward pass makes them. */
function rewritten(
  graph: Graph,
  nodes: readonly Node[],
  late: ReadonlySet<Node>,
  given: ReadonlySet<Node>,
  again: Recomputed,
  builder: Builder,
  fire: (rule: string) => void,
): Graph {
  const made = new Map<Node, Node>();
  const copies = new Map<Node, Node>();
  const copyOf = (node: Node): Node => {
    const known = copies.get(node);
    if (known !== undefined) return known;
    const copy = again.nodes.has(node)
      ? builder.remake(node, node.inputs.map(copyOf))
      : given.has(node)
        ? node
        : builder.make(mapOp('again'), [node], {}, node.origin);
    copies.set(node, copy);
    if (again.nodes.has(node) && node.op.kind === 'map') fire('value computed again');
    return copy;
  };
  for (const node of nodes) {
    const become = (input: Node): Node => (again.values.has(input) ? copyOf(input) : must(made, input));
    made.set(node, late.has(node) ? rebuilt(node, become, builder) : node);
  }
  return mapGraph(graph, (node) => must(made, node));
}
