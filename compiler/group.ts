// What becomes one kernel. Anchors (attention, contraction, fold) take in the nodes around them that cost no memory traffic;
// what is left and must be stored becomes a map kernel. Every edge that was cut carries the reason.
import { axisOf, sizeBound, sizesEqual, type Axis } from '../dsl/axis.ts';
import { axisNames, order, type Graph, type Node, type Update } from '../dsl/graph.ts';
import { findAttention, type Attention } from './attention.ts';
import { findCacheJoins, findDirectUpdates, type CacheJoin } from './cache-join.ts';

export type Group =
  | { readonly template: 'attention'; readonly attention: Attention; readonly chain: readonly Node[]; readonly nodes: ReadonlySet<Node>; readonly roots: readonly Node[] }
  | { readonly template: 'contract'; readonly contract: Node; readonly chain: readonly Node[]; readonly nodes: ReadonlySet<Node>; readonly roots: readonly Node[] }
  | { readonly template: 'rows'; readonly folds: readonly Node[]; readonly nodes: ReadonlySet<Node>; readonly roots: readonly Node[] }
  | { readonly template: 'map'; readonly nodes: ReadonlySet<Node>; readonly roots: readonly Node[] };

/** An edge between two kernels, and why it could not stay inside one. */
export interface Cut {
  readonly from: Node;
  readonly to: Node;
  readonly reason: string;
}

/** A concatenation whose parts are written where they belong by the kernels that make them. */
export interface PlacedJoin {
  readonly join: Node;
  readonly parts: ReadonlySet<Node>;
  /** The join is the first part of a state, which its second operand is written into. */
  readonly cache?: Update;
}

export interface Grouping {
  readonly groups: readonly Group[];
  readonly joins: readonly PlacedJoin[];
  /** Updates whose value is computed straight into the state. */
  readonly direct: readonly Update[];
  readonly cuts: readonly Cut[];
  /** Nodes whose values are in memory: group roots, joins and sources. */
  readonly stored: ReadonlySet<Node>;
}

/** Cost of computing one element in place, in loads and operations. */
interface Cost {
  readonly loads: number;
  readonly flops: number;
}

export function group(graph: Graph): Grouping {
  const nodes = order(graph);
  const readers = new Map<Node, Node[]>(nodes.map((n) => [n, []]));
  for (const n of nodes) for (const x of new Set(n.inputs)) readers.get(x)?.push(n);
  const caches = findCacheJoins(graph, nodes, readers);
  const direct = findDirectUpdates(graph, readers);
  const cached = new Set([...caches.map((c) => c.update), ...direct]);
  const kept = new Set<Node>([...graph.outputs.values(), ...graph.updates.map((u) => u.value)]);
  const copied = new Set<Node>([...graph.outputs.values(), ...graph.updates.filter((u) => !cached.has(u)).map((u) => u.value)]);
  const work: Work = { readers, kept, copied, outputs: new Set(graph.outputs.values()), owner: new Map(), cuts: [] };
  const groups: Group[] = [];
  const claim = (made: Group): void => {
    groups.push(made);
    for (const n of made.nodes) work.owner.set(n, made);
  };

  for (const n of nodes) {
    if (n.op.kind !== 'contract' || work.owner.has(n)) continue;
    const attention = findAttention(n, (x) => readers.get(x) ?? [], (x) => kept.has(x) || work.owner.has(x));
    if (attention === undefined) continue;
    const { chain, roots } = epilogue(n, work);
    claim({ template: 'attention', attention, chain, nodes: new Set([...attention.nodes, ...chain]), roots });
  }
  for (const n of nodes) {
    if (work.owner.has(n)) continue;
    if (n.op.kind === 'contract') {
      const { chain, roots } = epilogue(n, work);
      claim({ template: 'contract', contract: n, chain, nodes: new Set([n, ...chain]), roots });
    } else if (n.op.kind === 'fold') {
      claim(rows(n, work));
    }
  }

  for (const part of [...caches.map((c) => c.part), ...direct.map((u) => u.value)]) {
    if (!work.owner.has(part) && !isStoredSource(part)) claim({ template: 'map', nodes: new Set([part]), roots: [part] });
  }
  const joins = placeJoins(nodes, work, caches);
  const stored = new Set<Node>([...groups.flatMap((g) => g.roots), ...joins.map((j) => j.join), ...nodes.filter(isStoredSource)]);
  const parts = new Set(joins.flatMap((j) => [...j.parts]));
  for (const n of materialised(nodes, work, stored, parts)) {
    if (!work.owner.has(n)) claim({ template: 'map', nodes: new Set(isStoredSource(n) ? [] : [n]), roots: [n] });
    stored.add(n);
  }
  return { groups, joins, direct: direct.filter((u) => groups.some((g) => g.roots.includes(u.value)) && !parts.has(u.value)), cuts: work.cuts, stored };
}

interface Work {
  readonly readers: ReadonlyMap<Node, readonly Node[]>;
  /** Outputs and updates: their values must be stored. */
  readonly kept: ReadonlySet<Node>;
  /** Outputs, and values that are copied into a state: they have a place of their own. */
  readonly copied: ReadonlySet<Node>;
  /** A source that is an output itself is copied. */
  readonly outputs: ReadonlySet<Node>;
  readonly owner: Map<Node, Group>;
  readonly cuts: Cut[];
}

/** Sources that occupy memory; single numbers and indices are computed where they are read. */
export function isStoredSource(n: Node): boolean {
  if (n.op.kind !== 'source') return false;
  const { values, size } = n.attrs;
  if (values instanceof Float64Array) return values.length !== 1;
  if (size !== undefined) return false;
  return n.attrs['name'] !== undefined;
}

function sameAxes(a: Node, b: Node): boolean {
  return a.type.axes.length === b.type.axes.length && a.type.axes.every((axis) => axisOf(b.type.axes, axis.name) !== undefined);
}

interface Epilogue {
  /** Maps and one-to-one views after the anchor, operands first. */
  readonly chain: readonly Node[];
  /** What is stored. */
  readonly roots: readonly Node[];
}

/**
 * The maps that follow an anchor on the same elements. A one-to-one view changes only where results are written: it is taken along
 * when it is the single way on, and a map or an output follows it.
 */
function epilogue(anchor: Node, work: Work): Epilogue {
  let chain: readonly Node[] = [];
  let roots: readonly Node[] = [anchor];
  for (let from = anchor, views: readonly Node[] = []; ;) {
    const region = mapsAfter(from, new Set([anchor, ...chain, ...views, from]), anchor.id, work);
    const members = new Set([anchor, ...chain, ...views, from, ...region]);
    const own = [from, ...region].filter((n) => work.kept.has(n) || (work.readers.get(n) ?? []).some((r) => !members.has(r)));
    if (from === anchor || region.length > 0 || work.kept.has(from)) {
      chain = [...members].filter((n) => n !== anchor).sort((x, y) => x.id - y.id);
      roots = own;
      views = [];
    }
    const [last] = own;
    const readers = last === undefined ? [] : (work.readers.get(last) ?? []);
    const [next] = readers;
    const isOnlyWay = own.length === 1 && readers.length === 1 && last !== undefined && !work.kept.has(last);
    if (!isOnlyWay || next === undefined || work.owner.has(next) || next.op.kind !== 'view' || next.op.target === undefined) break;
    views = [...views, next];
    from = next;
  }
  for (const root of roots) for (const to of work.readers.get(root) ?? []) if (!chain.includes(to)) work.cuts.push({ from: root, to, reason: `${to.op.kind} after ${anchor.op.kind}` });
  return { chain, roots };
}

/** Maps reached from `start` on the same elements, none of which waits for something computed from the group outside of it. */
function mapsAfter(start: Node, group: ReadonlySet<Node>, oldest: number, work: Work): readonly Node[] {
  const members = new Set<Node>(group);
  const found = new Set<Node>();
  const queue = [start];
  for (let n = queue.shift(); n !== undefined; n = queue.shift()) {
    for (const reader of work.readers.get(n) ?? []) {
      if (found.has(reader) || work.owner.has(reader) || reader.op.kind !== 'map' || !sameAxes(reader, start)) continue;
      if (reader.inputs.some((x) => !members.has(x) && dependsOn(x, members, oldest))) continue;
      members.add(reader);
      found.add(reader);
      // A map that was refused because it also reads this one may be taken now.
      queue.push(reader, n);
    }
  }
  return [...found].sort((x, y) => x.id - y.id);
}

/** A fold, the folds over the same axes that follow it, and the maps between and after them: one pass structure over the same rows. */
function rows(first: Node, work: Work): Group {
  const [x] = first.inputs;
  if (x === undefined) throw new TypeError('a fold without an operand');
  const full = x.type.axes;
  const folded = axisNames(first.attrs['axes']);
  const outer = full.filter((axis) => !folded.includes(axis.name));
  const members = new Set<Node>([first]);
  // An axis that came in by another operand may have the name of a folded one, and another size.
  const isOver = (n: Node, axes: readonly Axis[]) => n.type.axes.length === axes.length && n.type.axes.every((a) => { const own = axisOf(axes, a.name); return own !== undefined && sizesEqual(own.size, a.size); });
  const joins = (n: Node): boolean => {
    if (n.op.kind === 'fold') {
      const input = n.inputs[0];
      const names = axisNames(n.attrs['axes']);
      return input !== undefined && isOver(input, full) && names.length === folded.length && names.every((name) => folded.includes(name));
    }
    return n.op.kind === 'map' && (isOver(n, full) || isOver(n, outer));
  };
  const queue = [first];
  for (let n = queue.pop(); n !== undefined; n = queue.pop()) {
    for (const reader of work.readers.get(n) ?? []) {
      if (members.has(reader)) continue;
      if (work.owner.has(reader) || !joins(reader)) continue;
      // A reader that also needs something computed from this group's results, outside of it, must wait for a later kernel.
      const others = reader.inputs.filter((i) => !members.has(i));
      if (others.some((o) => dependsOn(o, members, first.id))) continue;
      members.add(reader);
      queue.push(reader);
    }
  }
  closeOver(members, first.id);
  const roots = [...members].filter((n) => work.kept.has(n) || (work.readers.get(n) ?? []).some((r) => !members.has(r)));
  for (const from of roots) {
    for (const to of work.readers.get(from) ?? []) {
      if (members.has(to)) continue;
      work.cuts.push({ from, to, reason: work.owner.has(to) ? 'the reader belongs to another kernel' : joins(to) ? 'it also reads a later result' : `${to.op.kind} on other axes than the fold` });
    }
  }
  const folds = [...members].filter((n) => n.op.kind === 'fold').sort((a, b) => a.id - b.id);
  return { template: 'rows', folds, nodes: members, roots };
}

/** Removes members that read something which depends on the group from outside: grouping must not make a cycle. */
function closeOver(members: Set<Node>, first: number): void {
  for (let changed = true; changed;) {
    changed = false;
    for (const n of [...members]) {
      if (n.id === first) continue;
      const outside = n.inputs.filter((i) => !members.has(i));
      const isReached = n.inputs.some((i) => members.has(i));
      if (!isReached && n.op.kind !== 'fold') { members.delete(n); changed = true; continue; }
      if (outside.some((o) => dependsOn(o, members, first))) { members.delete(n); changed = true; }
    }
  }
}

/** True when `node` needs a member of the group. Operands have smaller ids than their readers, so old nodes end the search. */
function dependsOn(node: Node, members: ReadonlySet<Node>, oldest: number, seen: Set<Node> = new Set()): boolean {
  if (members.has(node)) return true;
  if (node.id < oldest || seen.has(node)) return false;
  seen.add(node);
  return node.inputs.some((x) => dependsOn(x, members, oldest, seen));
}

/** A concatenation is stored when at least one part is the result of an anchor: that kernel writes into its range. */
function placeJoins(nodes: readonly Node[], work: Work, caches: readonly CacheJoin[]): readonly PlacedJoin[] {
  const placed: PlacedJoin[] = [];
  const taken = new Set<Node>();
  const cacheOf = new Map(caches.map((c) => [c.join, c]));
  for (const n of nodes) {
    if (n.op.kind !== 'join') continue;
    const makes = (x: Node) => { const o = work.owner.get(x); return o !== undefined && o.roots.includes(x) && !work.copied.has(x) && !taken.has(x); };
    const cache = cacheOf.get(n);
    if (cache !== undefined) {
      const made = makes(cache.part) ? [cache.part] : [];
      made.forEach((p) => taken.add(p));
      placed.push({ join: n, parts: new Set(made), cache: cache.update });
      continue;
    }
    if (!n.inputs.some(makes) || new Set(n.inputs).size !== n.inputs.length) continue;
    // A part that another part is computed from stays apart: no kernel may read the buffer it writes.
    const parts = new Set(n.inputs.filter((x) => makes(x) && !n.inputs.some((y) => y !== x && dependsOn(y, new Set([x]), x.id))));
    if (parts.size === 0) continue;
    parts.forEach((p) => taken.add(p));
    placed.push({ join: n, parts });
  }
  return placed;
}

/**
 * Values that no anchor stores but that must be stored, or are cheaper to store than to compute again. Operands first, a value with too
 * many operands of its own is stored; then, readers first, one that would be computed too often: where the end of a chain is stored,
 * its beginning need not be.
 */
function materialised(nodes: readonly Node[], work: Work, stored: ReadonlySet<Node>, parts: ReadonlySet<Node>): readonly Node[] {
  const result = new Set<Node>();
  const cost = new Map<Node, Cost>();
  const isOpen = (n: Node): boolean => n.op.kind !== 'view' && n.op.kind !== 'source' && !work.owner.has(n);
  for (const n of nodes) {
    if (stored.has(n) || parts.has(n)) {
      cost.set(n, { loads: 1, flops: 0 });
      if (work.outputs.has(n) && n.op.kind === 'source') result.add(n);
      continue;
    }
    const own = inPlaceCost(n, cost);
    const isKept = work.kept.has(n) && !work.owner.has(n);
    const isWide = isOpen(n) && own.loads > mostOperands && uses(n, work, result).length > 0;
    if (isKept || isWide) {
      result.add(n);
      if (isWide && !isKept) uses(n, work, result).forEach((use) => work.cuts.push({ from: n, to: use.reader, reason: 'too many operands for one kernel' }));
    }
    cost.set(n, result.has(n) ? { loads: 1, flops: 0 } : own);
  }
  for (const n of [...nodes].reverse()) {
    if (!isOpen(n) || stored.has(n) || parts.has(n) || result.has(n)) continue;
    const reads = uses(n, work, result);
    const reason = reasonToStore(cost.get(n) ?? { loads: 1, flops: 0 }, reads);
    if (reason === undefined) continue;
    result.add(n);
    reads.forEach((use) => work.cuts.push({ from: n, to: use.reader, reason }));
  }
  return nodes.filter((n) => result.has(n));
}

/** Loads of one element beyond which a value is stored: kernels have few bindings. */
const mostOperands = 6;

function inPlaceCost(n: Node, cost: ReadonlyMap<Node, Cost>): Cost {
  const inputs = n.inputs.map((x) => cost.get(x) ?? { loads: 1, flops: 0 });
  const loads = inputs.reduce((s, c) => s + c.loads, n.op.kind === 'gather' ? 1 : 0);
  const flops = inputs.reduce((s, c) => s + c.flops, n.op.kind === 'map' ? n.op.flops : 1);
  return { loads, flops };
}

interface Use {
  readonly reader: Node;
  /** How often the reading kernel computes each element anew. */
  readonly times: number;
}

/** The kernels that read a value, through views and other values that are computed in place. */
function uses(n: Node, work: Work, stored: ReadonlySet<Node>): readonly Use[] {
  const found: Use[] = [];
  const seen = new Set<Node>();
  const visit = (x: Node): void => {
    for (const reader of work.readers.get(x) ?? []) {
      if (seen.has(reader)) continue;
      seen.add(reader);
      const owner = work.owner.get(reader);
      if (owner === undefined && reader.op.kind !== 'join') { if (work.kept.has(reader) || stored.has(reader)) found.push({ reader, times: 1 }); else visit(reader); continue; }
      if (owner === undefined) { found.push({ reader, times: 1 }); continue; }
      found.push({ reader, times: repeats(owner, reader) });
    }
  };
  visit(n);
  return found;
}

const tileGuess = 64;

/** A contraction reads an operand once per tile of the other side; folds read theirs once per pass. */
function repeats(owner: Group, reader: Node): number {
  if (owner.template === 'rows') return owner.folds.length + 1;
  if (owner.template === 'contract' && reader === owner.contract) return Math.max(1, largestSide(owner.contract) / tileGuess);
  if (owner.template === 'attention' && owner.attention.operands.includes(reader)) return 4;
  if (owner.template === 'attention' && owner.attention.nodes.has(reader)) return 1;
  return 1;
}

function largestSide(contract: Node): number {
  return Math.max(...contract.type.axes.map((a) => sizeBound(a.size)), 1);
}

function reasonToStore(cost: Cost, reads: readonly Use[]): string | undefined {
  // Arithmetic on indices alone is cheaper than a load.
  if (cost.loads === 0 && cost.flops <= 16) return undefined;
  const weight = cost.flops + 2 * (cost.loads - 1);
  const times = reads.reduce((sum, use) => sum + use.times, 0);
  if (weight <= 2 || times <= 1) return undefined;
  return weight * (times - 1) > 8 ? `would be computed ×${Math.round(times)}` : undefined;
}
