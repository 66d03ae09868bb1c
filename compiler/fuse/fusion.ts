// Fusion: what a kernel takes in around its anchor, the maps and reductions around it on the same elements, as long as no cycle arises.
import { axisOf, sizesEqual, type Axis } from '../../dsl/axis/axis.ts';
import { leastBindings, longestWithin, type BindingBudget } from './bindings.ts';
import { tooManyBindings, type Cut, type Group, type LeftParts, type Owners, type RowParts } from './group.ts';
import { reducedAxes, type Node } from '../../dsl/graph/graph.ts';

/** What grouping knows while it goes. */
export interface Work {
  readonly readers: ReadonlyMap<Node, readonly Node[]>;
  /** Outputs and updates: their values must be stored. */
  readonly kept: ReadonlySet<Node>;
  /** Outputs, and values that are copied into a state: they have a place of their own. */
  readonly copied: ReadonlySet<Node>;
  /** A source that is an output itself is copied. */
  readonly outputs: ReadonlySet<Node>;
  readonly owner: Owners;
  /** Maps and products that every kernel computes for itself: values on the scores of an attention. */
  readonly inPlace: ReadonlySet<Node>;
  readonly cuts: Cut[];
  readonly budget: BindingBudget;
}

/** True when both are over the same elements: the same axes, in any order. */
function isOverSameAxes(a: Node, b: Node): boolean {
  return (
    a.type.axes.length === b.type.axes.length &&
    a.type.axes.every((axis) => axisOf(b.type.axes, axis.name) !== undefined)
  );
}

export interface Epilogue {
  /** Maps and one-to-one views after the anchor, operands first. */
  readonly chain: readonly Node[];
  /** What is stored. */
  readonly roots: readonly Node[];
}

/**
 * The maps that follow an anchor on the same elements, as many as the device has bindings for. A one-to-one view changes only where
 * results are written: it is taken along when it is the single way on, and a map or an output follows it.
 * `inner`: all that the anchor's kernel computes anyway.
 */
export function epilogue(anchor: Node, inner: ReadonlySet<Node>, work: Work): Epilogue {
  let chain: readonly Node[] = [];
  let roots: readonly Node[] = [anchor];
  let views: readonly Node[] = [];
  let from: Node | undefined = anchor;
  while (from !== undefined) {
    const start: Node = from;
    const before = new Set([...inner, anchor, ...chain, ...views]);
    const endsOf = (members: ReadonlySet<Node>): readonly Node[] =>
      [...members].filter((n) => (n === start || !before.has(n)) && isRoot(n, members, work));
    const region = mapsAfter(start, before, anchor.id, work);
    const members = new Set(
      longestWithin([...before, ...region], before.size, (some) => isWithin(some, endsOf(some), work)),
    );
    const ends = endsOf(members);
    if (start === anchor || members.size > before.size || work.kept.has(start)) {
      chain = [...members].filter((n) => n !== anchor && !inner.has(n)).sort((x, y) => x.id - y.id);
      roots = ends;
      views = [];
    }
    from = onlyViewAfter(ends, work);
    if (from !== undefined) views = [...views, from];
  }
  // What only reductions read, and is a map of another result, they compute themselves: one of the two is stored.
  const again = new Set(
    roots.filter(
      (n) =>
        n !== anchor &&
        !work.kept.has(n) &&
        n.inputs.some((x) => roots.includes(x)) &&
        (work.readers.get(n) ?? []).every((r) => r.op.kind === 'reduce'),
    ),
  );
  roots = roots.filter((n) => !again.has(n));
  chain = chain.filter((n) => !again.has(n));
  for (const root of roots)
    for (const to of work.readers.get(root) ?? [])
      if (!chain.includes(to)) work.cuts.push({ from: root, to, reason: `${to.op.kind} after ${anchor.op.kind}` });
  return { chain, roots };
}

/** True for what a kernel must store: something outside reads it, or it is an output. What reads it in place reads it in other kernels too. */
function isRoot(node: Node, members: ReadonlySet<Node>, work: Work): boolean {
  if (work.inPlace.has(node)) return false;
  const isElsewhere = (reader: Node): boolean => !members.has(reader) || work.inPlace.has(reader);
  return work.kept.has(node) || (work.readers.get(node) ?? []).some(isElsewhere);
}

/** The one-to-one view that is the only reader of the only result. */
function onlyViewAfter(ends: readonly Node[], work: Work): Node | undefined {
  const [end, ...others] = ends;
  if (end === undefined || others.length > 0 || work.kept.has(end)) return undefined;
  const [next, ...more] = work.readers.get(end) ?? [];
  if (next === undefined || more.length > 0 || work.owner.has(next)) return undefined;
  return next.op.kind === 'view' && next.op.target !== undefined ? next : undefined;
}

/** Maps reached from `start` on the same elements, none of which waits for something computed from the group outside of it. */
function mapsAfter(start: Node, group: ReadonlySet<Node>, oldest: number, work: Work): readonly Node[] {
  const members = new Set<Node>(group);
  // What every kernel computes for itself, nobody waits for.
  const own = new Set([...group].filter((n) => !work.inPlace.has(n)));
  const found = new Set<Node>();
  const queue = [start];
  for (let n = queue.shift(); n !== undefined; n = queue.shift()) {
    for (const reader of work.readers.get(n) ?? []) {
      if (found.has(reader) || work.owner.has(reader) || work.inPlace.has(reader)) continue;
      if (reader.op.kind !== 'map' || reader.op.apart || !isOverSameAxes(reader, start)) continue;
      if (reader.inputs.some((x) => !members.has(x) && endsLater(x, oldest, start, work))) continue;
      if (reader.inputs.some((x) => !members.has(x) && dependsOn(x, own, oldest, work.owner))) continue;
      members.add(reader);
      own.add(reader);
      found.add(reader);
      // A map that was refused because it also reads this one may be taken now.
      queue.push(reader, n);
    }
  }
  return [...found].sort((x, y) => x.id - y.id);
}

/**
 * True for a contraction that has no kernel yet and comes later in the graph, and for maps of it: what is made of both is given to the
 * later one. A sum of many products then grows with each, and none waits for the last.
 */
function endsLater(x: Node, anchor: number, like: Node, work: Work, seen = new Set<Node>()): boolean {
  if (seen.has(x) || work.owner.has(x) || work.inPlace.has(x) || x.id < anchor || !isOverSameAxes(x, like))
    return false;
  seen.add(x);
  return (
    x.op.kind === 'contract' || (x.op.kind === 'map' && x.inputs.some((y) => endsLater(y, anchor, like, work, seen)))
  );
}

/** A reduction, the reductions over the same axes that follow it, and the maps between and after them: one pass structure over the same rows. */
export function rows(first: Node, work: Work): Group {
  const [x] = first.inputs;
  if (x === undefined) throw new TypeError('a reduction without an operand');
  const full = x.type.axes;
  const reduced = reducedAxes(first);
  const outer = full.filter((axis) => !reduced.includes(axis.name));
  const members = new Set<Node>([first]);
  // An axis that came in by another operand may have the name of a reduced one, and another size.
  const isOver = (n: Node, axes: readonly Axis[]) =>
    n.type.axes.length === axes.length &&
    n.type.axes.every((a) => {
      const own = axisOf(axes, a.name);
      return own !== undefined && sizesEqual(own.size, a.size);
    });
  const joins = (n: Node): boolean => {
    if (n.op.kind === 'reduce') {
      const input = n.inputs[0];
      const names = reducedAxes(n);
      return (
        input !== undefined &&
        isOver(input, full) &&
        names.length === reduced.length &&
        names.every((name) => reduced.includes(name))
      );
    }
    return n.op.kind === 'map' && !n.op.apart && (isOver(n, full) || isOver(n, outer));
  };
  const queue = [first];
  for (let n = queue.pop(); n !== undefined; n = queue.pop()) {
    for (const reader of work.readers.get(n) ?? []) {
      if (members.has(reader)) continue;
      if (work.owner.has(reader) || !joins(reader)) continue;
      // A reader that also needs something computed from this group's results, outside of it, must wait for a later kernel.
      const others = reader.inputs.filter((i) => !members.has(i));
      if (others.some((o) => dependsOn(o, members, first.id, work.owner))) continue;
      members.add(reader);
      queue.push(reader);
    }
  }
  closeOver(members, first.id, work.owner);
  leaveOut(members, work);
  const all = [...members].sort((a, b) => a.id - b.id);
  // What is left out at the end reads what stays, and nothing that stays reads it.
  const taken = new Set(longestWithin(all, 1, (some) => isWithin(some, rootsOf(some, work), work)));
  const roots = rootsOf(taken, work);
  for (const from of roots) {
    for (const to of work.readers.get(from) ?? []) {
      if (taken.has(to)) continue;
      work.cuts.push({
        from,
        to,
        reason: work.owner.has(to)
          ? 'the reader belongs to another kernel'
          : members.has(to)
            ? tooManyBindings
            : joins(to)
              ? 'it also reads a later result'
              : `${to.op.kind} on other axes than the reduction`,
      });
    }
  }
  const reductions = all.filter((n) => taken.has(n) && n.op.kind === 'reduce');
  return { template: 'rows', reductions, nodes: withInPlace(taken, work), roots };
}

function rootsOf(members: ReadonlySet<Node>, work: Work): readonly Node[] {
  return [...members].filter((n) => isRoot(n, members, work));
}

/** True when a kernel that computes these nodes and stores these results can do with the bindings of the device. */
function isWithin(members: ReadonlySet<Node>, roots: readonly Node[], work: Work): boolean {
  return leastBindings(withInPlace(members, work), roots, work.budget) <= work.budget.most;
}

function withInPlace(members: ReadonlySet<Node>, work: Work): ReadonlySet<Node> {
  const operands = [...members].flatMap((n) => n.inputs);
  return new Set([...members, ...computedInPlace(operands, work)]);
}

/** Removes what is computed in place and leads to no other member: each reader computes it for itself. */
function leaveOut(members: Set<Node>, work: Work): void {
  for (const n of [...members].sort((a, b) => b.id - a.id))
    if (work.inPlace.has(n) && !(work.readers.get(n) ?? []).some((r) => members.has(r))) members.delete(n);
}

/** What of the values computed in place a kernel computes for these operands. */
export function computedInPlace(operands: readonly Node[], work: Pick<Work, 'inPlace'>): readonly Node[] {
  const found = new Set<Node>();
  const visit = (n: Node): void => {
    if (!work.inPlace.has(n) || found.has(n)) return;
    found.add(n);
    n.inputs.forEach(visit);
  };
  operands.forEach(visit);
  return [...found];
}

/** Removes members that read something which depends on the group from outside: grouping must not make a cycle. */
function closeOver(members: Set<Node>, first: number, owner: Owners): void {
  for (let changed = true; changed;) {
    changed = false;
    for (const n of [...members]) {
      if (n.id === first) continue;
      const outside = n.inputs.filter((i) => !members.has(i));
      const isReached = n.inputs.some((i) => members.has(i));
      if (!isReached && n.op.kind !== 'reduce') {
        members.delete(n);
        changed = true;
        continue;
      }
      if (outside.some((o) => dependsOn(o, members, first, owner))) {
        members.delete(n);
        changed = true;
      }
    }
  }
}

/** True when `node` needs a member of the group, the oldest of which has the id `oldest`: itself, or through all that its kernel computes with it. */
export function dependsOn(node: Node, members: ReadonlySet<Node>, oldest: number, owner: Owners): boolean {
  const earliest = owner.earliest(oldest);
  const seen = new Set<Node>();
  const visit = (at: Node): boolean => {
    if (members.has(at)) return true;
    if (seen.has(at)) return false;
    seen.add(at);
    for (const other of owner.get(at)?.nodes ?? []) if (visit(other)) return true;
    return at.id >= earliest && at.inputs.some(visit);
  };
  return visit(node);
}

/** Those of the members that any of the nodes needs, as `dependsOn` has it, be it by way of one of them. */
export function neededBy(nodes: readonly Node[], members: ReadonlySet<Node>, owner: Owners): ReadonlySet<Node> {
  const needed = new Set<Node>();
  if (members.size === 0) return needed;
  const earliest = owner.earliest([...members].reduce((least, { id }) => Math.min(least, id), Infinity));
  const seen = new Set(nodes);
  const open = [...nodes];
  for (let at = open.pop(); at !== undefined; at = open.pop()) {
    if (members.has(at)) needed.add(at);
    for (const next of [...(owner.get(at)?.nodes ?? []), ...(at.id >= earliest ? at.inputs : [])]) {
      if (seen.has(next)) continue;
      seen.add(next);
      open.push(next);
    }
  }
  return needed;
}

/** What the kernel of a product leaves of the rows that it makes, if it has the bindings, and the value is of as many columns as its results. */
export function leftParts(
  made: readonly Node[],
  own: ReadonlySet<Node>,
  roots: readonly Node[],
  parts: ReadonlyMap<Node, RowParts>,
  work: Work,
): LeftParts | undefined {
  const firstView = made.findIndex((x) => x.op.kind === 'view');
  const of = made.slice(0, firstView < 0 ? undefined : firstView).find((x) => parts.has(x) && roots.includes(x));
  const found = of === undefined ? undefined : parts.get(of);
  if (of === undefined || found === undefined) return undefined;
  const isFree = [...found.nodes].every((x) => !work.kept.has(x) && !work.owner.has(x) && !work.inPlace.has(x));
  const all = new Set([...own, ...found.nodes]);
  const fits = leastBindings(all, [...roots, ...found.results], work.budget) <= work.budget.most;
  return isFree && fits ? { ...found, of } : undefined;
}
