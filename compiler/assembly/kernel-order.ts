// The order of kernels: what is read has been written, and of several such orders the one that holds least at a time.
import { type Kernel, type Slot } from '../kernel/kernel.ts';
import type { Group } from '../fuse/group.ts';
import { dtypeBytes } from '../../dsl/graph/elements.ts';
import type { Graph, Node } from '../../dsl/graph/graph.ts';
import { order, readersOf } from '../../dsl/graph/walk.ts';
import { computedAgain } from '../match/computed-again.ts';
import type { DispatchShare } from '../plan.ts';
import { wholeOf, type Storage } from '../kernel/storage.ts';

/** A kernel in its place in the order, with what it is about. */
export interface Step {
  readonly kernel: Kernel;
  readonly group: Group;
  readonly template: string;
  readonly label: string;
  readonly path: string;
  readonly flops: number;
  /** Of each kernel of a dispatch that several share. */
  readonly shares?: readonly DispatchShare[];
  /** The kernels that share it, as they were by themselves. */
  readonly together?: readonly Step[];
  /** It writes into a state after all that read it. */
  readonly last: boolean;
}

export interface OrderOptions {
  readonly graph: Graph;
  /** Of each node, the first output that needs it: what one output needs stands together. */
  readonly first: ReadonlyMap<Node, number>;
  /** What lives outside of the run. */
  readonly kept: ReadonlySet<Storage>;
}

/**
 * A kernel after all that write what it reads; a state is overwritten after all that read it. Otherwise the order of the graph, or, where
 * less is then alive at the fullest moment, an order that prefers kernels which free more than they take: a backward pass whose weights'
 * gradients are all computed last would keep every activation until then. The best first, then others that hold hardly more.
 */
export function ordersOf(steps: readonly Step[], { graph, first, kept }: OrderOptions): readonly (readonly Step[])[] {
  const before = waitsOf(steps);
  const traffic = new Traffic(
    steps.map((step) => step.kernel.slots),
    kept,
  );
  const nodes = order(graph);
  const again = computedAgain(nodes);
  const position = positionsIn(nodes, again);
  // A kernel stands where its first result does: with it, it may make what is read much later.
  const rank = steps.map((s) => Math.min(...s.group.roots.map(position)));
  const cluster = steps.map((s) => Math.min(...s.group.roots.map((r) => first.get(r) ?? 0)));
  const byGraph = steps
    .map((_, i) => i)
    .sort((a, b) => (cluster[a] ?? 0) - (cluster[b] ?? 0) || (rank[a] ?? 0) - (rank[b] ?? 0) || a - b);
  const plain = arrange(byGraph, before, (ready) => ready[0]);
  const candidates = [plain];
  // Work at load time has an order of its own.
  if (first.size === 0) {
    for (const most of [-1, Infinity]) {
      const life = new Life(
        traffic,
        steps.map((_, i) => [i]),
      );
      candidates.push(
        arrange(byGraph, before, (ready, freed) => {
          const growth = (i: number): number => {
            const isAgain = steps[i]?.group.roots.every((root) => again.has(root)) === true;
            // What is computed again waits until a kernel lacks nothing else, and the two are seen as one.
            return life.growth(i) + (isAgain ? Math.min(...freed(i).map((next) => life.growth(next))) : 0);
          };
          const chosen = leastOf(ready, growth, most) ?? ready[0];
          if (chosen !== undefined) life.run([chosen]);
          return chosen;
        }),
      );
    }
  }
  const peaks = candidates.map((one) => traffic.peak(one.map((i) => [i])));
  // A tie, or nearly one, keeps the order of the graph.
  const best = peaks.reduce((least, peak, i) => (peak < 0.98 * (peaks[least] ?? 0) ? i : least), 0);
  const most = 1.02 * (peaks[best] ?? 0);
  const others = candidates.filter((_, i) => i !== best && (peaks[i] ?? Infinity) <= most);
  const distinct = new Map([candidates[best] ?? plain, ...others].map((one) => [one.join(), one]));
  return [...distinct.values()].map((one) => one.flatMap((i) => steps[i] ?? []));
}

/**
 * The order of the graph, in which a node that a stage has made anew stands where the old one stood: its number says when it was made. What
 * is computed again stands where it is read first, and what grouping has made behind its operands.
 */
function positionsIn(nodes: readonly Node[], again: ReadonlySet<Node>): (node: Node) => number {
  const known = new Map(nodes.map((node, i) => [node, i]));
  const readers = readersOf(nodes);
  for (const node of nodes.toReversed())
    if (again.has(node))
      known.set(node, Math.min(...(readers.get(node) ?? []).map((reader) => known.get(reader) ?? 0)));
  const position = (node: Node): number => {
    const found = known.get(node) ?? Math.max(...node.inputs.map(position), 0);
    known.set(node, found);
    return found;
  };
  return position;
}

/** For each kernel those that must have run. */
export function waitsOf(steps: readonly Step[]): readonly ReadonlySet<number>[] {
  const writers = new Map<Storage, number[]>();
  const readers = new Map<Storage, number[]>();
  const ranges = new Map<Storage, Storage[]>();
  steps.forEach((step, i) => {
    for (const { storage, write } of step.kernel.slots) {
      push(write ? writers : readers, storage, i);
      if (storage.within !== undefined) push(ranges, storage.within.storage, storage);
    }
  });
  // What shares bytes: a range and its whole, not two ranges.
  const touching = (known: ReadonlyMap<Storage, readonly number[]>, storage: Storage): readonly number[] =>
    [
      storage,
      ...(ranges.get(storage) ?? []),
      ...(storage.within === undefined ? [] : [storage.within.storage]),
    ].flatMap((other) => known.get(other) ?? []);
  return steps.map((step, i) => {
    const needs = new Set<number>();
    for (const slot of step.kernel.slots) {
      if (!slot.write)
        touching(writers, slot.storage)
          .filter((w) => w !== i && steps[w]?.last === false)
          .forEach((w) => needs.add(w));
      else if (step.last)
        touching(readers, slot.storage)
          .filter((r) => r !== i)
          .forEach((r) => needs.add(r));
    }
    return needs;
  });
}

/** All kernels, the next always chosen from those whose turn it may be, in the order given. */
function arrange(
  preferred: readonly number[],
  before: readonly ReadonlySet<number>[],
  choose: (ready: readonly number[], freed: (i: number) => readonly number[]) => number | undefined,
): readonly number[] {
  const open = before.map((needs) => needs.size);
  const after = new Map<number, number[]>();
  before.forEach((needs, i) => needs.forEach((other) => push(after, other, i)));
  const place = new Map(preferred.map((i, at) => [i, at]));
  const ready = preferred.filter((i) => open[i] === 0);
  const result: number[] = [];
  while (ready.length > 0) {
    const chosen = choose(ready, (i) => (after.get(i) ?? []).filter((next) => open[next] === 1));
    if (chosen === undefined) break;
    ready.splice(ready.indexOf(chosen), 1);
    result.push(chosen);
    for (const next of after.get(chosen) ?? []) {
      open[next] = (open[next] ?? 0) - 1;
      if (open[next] !== 0) continue;
      const at = ready.findIndex((other) => (place.get(other) ?? 0) > (place.get(next) ?? 0));
      ready.splice(at === -1 ? ready.length : at, 0, next);
    }
  }
  if (result.length < before.length) throw new TypeError('kernels wait for one another');
  return result;
}

/** The first of those with the least value, if that is at most `most`. */
function leastOf(items: readonly number[], value: (item: number) => number, most: number): number | undefined {
  let best: { readonly item: number; readonly value: number } | undefined;
  for (const item of items) {
    const own = value(item);
    if (own <= most && (best === undefined || own < best.value)) best = { item, value: own };
  }
  return best?.item;
}

/** What kernels read and write of what lives in a run alone, by numbers: orders of them are tried many times over. */
export class Traffic {
  /** Of each kernel, each value once. */
  readonly reads: readonly (readonly number[])[];
  readonly writes: readonly (readonly number[])[];
  readonly bytes: readonly number[];

  /** `kernels`: the slots of each. `kept` lives outside of the run. */
  constructor(kernels: readonly (readonly Slot[])[], kept: ReadonlySet<Storage>) {
    const numbers = new Map<Storage, number>();
    const numberOf = (storage: Storage): number => {
      const known = numbers.get(storage) ?? numbers.size;
      numbers.set(storage, known);
      return known;
    };
    const own = (write: boolean) =>
      kernels.map((slots) => [
        ...new Set(
          slots
            .filter((s) => s.write === write && !kept.has(wholeOf(s.storage)) && !kept.has(s.storage))
            .map((s) => numberOf(wholeOf(s.storage))),
        ),
      ]);
    this.reads = own(false);
    this.writes = own(true);
    this.bytes = [...numbers.keys()].map(storageBytes);
  }

  /** Bytes alive at the fullest moment, where dispatches of these kernels run one after the other. */
  peak(dispatches: readonly (readonly number[])[]): number {
    const life = new Life(this, dispatches);
    return dispatches.reduce((peak, kernels) => Math.max(peak, life.run(kernels)), 0);
  }
}

/** What is alive while kernels run. */
class Life {
  readonly #traffic: Traffic;
  /** Dispatches that have yet to read a value. */
  readonly #left: Int32Array;
  readonly #live: Uint8Array;
  /** The dispatch that was the last to count a value among its reads: several of its kernels may read it. */
  readonly #counted: Int32Array;
  #turn = 0;
  bytes = 0;

  constructor(traffic: Traffic, dispatches: readonly (readonly number[])[]) {
    const { length } = traffic.bytes;
    this.#traffic = traffic;
    this.#left = new Int32Array(length);
    this.#live = new Uint8Array(length);
    this.#counted = new Int32Array(length);
    for (const kernels of dispatches)
      this.#eachRead(kernels, (value) => (this.#left[value] = (this.#left[value] ?? 0) + 1));
  }

  #eachRead(kernels: readonly number[], visit: (value: number) => void): void {
    this.#turn++;
    for (const kernel of kernels)
      for (const value of this.#traffic.reads[kernel] ?? []) {
        if (this.#counted[value] === this.#turn) continue;
        this.#counted[value] = this.#turn;
        visit(value);
      }
  }

  /** Bytes that are alive after a kernel and were not before it. */
  growth(kernel: number): number {
    const { reads, writes, bytes } = this.#traffic;
    let grown = 0;
    for (const value of writes[kernel] ?? []) if (this.#live[value] === 0) grown += bytes[value] ?? 0;
    for (const value of reads[kernel] ?? []) if (this.#left[value] === 1) grown -= bytes[value] ?? 0;
    return grown;
  }

  /** Runs the kernels of a dispatch; bytes alive while it runs. */
  run(kernels: readonly number[]): number {
    const { writes, bytes } = this.#traffic;
    for (const kernel of kernels)
      for (const value of writes[kernel] ?? []) {
        if (this.#live[value] === 1) continue;
        this.#live[value] = 1;
        this.bytes += bytes[value] ?? 0;
      }
    const during = this.bytes;
    this.#eachRead(kernels, (value) => {
      const left = (this.#left[value] ?? 0) - 1;
      this.#left[value] = left;
      if (left !== 0 || this.#live[value] === 0) return;
      this.#live[value] = 0;
      this.bytes -= bytes[value] ?? 0;
    });
    return during;
  }
}

export function storageBytes({ elements, dtype }: Storage): number {
  return elements.most * dtypeBytes(dtype);
}

function push<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const known = map.get(key);
  if (known === undefined) map.set(key, [value]);
  else if (!known.includes(value)) known.push(value);
}
