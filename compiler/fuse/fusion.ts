// How a kernel grows from its anchor: the maps and reductions around it on the same elements, as long as no cycle arises.
import { axisOf, sizesEqual, type Axis } from '../../dsl/axis/axis.ts';
import { axisNames, type Node } from '../../dsl/graph/graph.ts';
import { longestWithin, type BindingBudget } from './bindings.ts';
import { tooManyBindings, type Cut, type Group } from './group.ts';

/** What grouping knows while it goes. */
export interface Work {
  readonly readers: ReadonlyMap<Node, readonly Node[]>;
  /** Outputs and updates: their values must be stored. */
  readonly kept: ReadonlySet<Node>;
  /** Outputs, and values that are copied into a state: they have a place of their own. */
  readonly copied: ReadonlySet<Node>;
  /** A source that is an output itself is copied. */
  readonly outputs: ReadonlySet<Node>;
  readonly owner: Map<Node, Group>;
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

interface Epilogue {
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
    const members = new Set(longestWithin([...before, ...region], before.size, endsOf, work.budget));
    const ends = endsOf(members);
    if (start === anchor || members.size > before.size || work.kept.has(start)) {
      chain = [...members].filter((n) => n !== anchor && !inner.has(n)).sort((x, y) => x.id - y.id);
      roots = ends;
      views = [];
    }
    from = onlyViewAfter(ends, work);
    if (from !== undefined) views = [...views, from];
  }
  for (const root of roots)
    for (const to of work.readers.get(root) ?? [])
      if (!chain.includes(to)) work.cuts.push({ from: root, to, reason: `${to.op.kind} after ${anchor.op.kind}` });
  return { chain, roots };
}

/** True for what a kernel must store: something outside reads it, or it is an output. */
function isRoot(node: Node, members: ReadonlySet<Node>, work: Work): boolean {
  return work.kept.has(node) || (work.readers.get(node) ?? []).some((reader) => !members.has(reader));
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
  const found = new Set<Node>();
  const queue = [start];
  for (let n = queue.shift(); n !== undefined; n = queue.shift()) {
    for (const reader of work.readers.get(n) ?? []) {
      if (found.has(reader) || work.owner.has(reader) || reader.op.kind !== 'map' || !isOverSameAxes(reader, start))
        continue;
      if (reader.inputs.some((x) => !members.has(x) && dependsOn(x, members, oldest, work.owner))) continue;
      members.add(reader);
      found.add(reader);
      // A map that was refused because it also reads this one may be taken now.
      queue.push(reader, n);
    }
  }
  return [...found].sort((x, y) => x.id - y.id);
}

/** A reduction, the reductions over the same axes that follow it, and the maps between and after them: one pass structure over the same rows. */
export function rows(first: Node, work: Work): Group {
  const [x] = first.inputs;
  if (x === undefined) throw new TypeError('a reduction without an operand');
  const full = x.type.axes;
  const reduced = axisNames(first.attrs['axes']);
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
      const names = axisNames(n.attrs['axes']);
      return (
        input !== undefined &&
        isOver(input, full) &&
        names.length === reduced.length &&
        names.every((name) => reduced.includes(name))
      );
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
      if (others.some((o) => dependsOn(o, members, first.id, work.owner))) continue;
      members.add(reader);
      queue.push(reader);
    }
  }
  closeOver(members, first.id, work.owner);
  const rootsOf = (some: ReadonlySet<Node>): readonly Node[] => [...some].filter((n) => isRoot(n, some, work));
  const all = [...members].sort((a, b) => a.id - b.id);
  // What is left out at the end reads what stays, and nothing that stays reads it.
  const nodes = new Set(longestWithin(all, 1, rootsOf, work.budget));
  const roots = rootsOf(nodes);
  for (const from of roots) {
    for (const to of work.readers.get(from) ?? []) {
      if (nodes.has(to)) continue;
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
  const reductions = all.filter((n) => nodes.has(n) && n.op.kind === 'reduce');
  return { template: 'rows', reductions, nodes, roots };
}

/** Removes members that read something which depends on the group from outside: grouping must not make a cycle. */
function closeOver(members: Set<Node>, first: number, owner: ReadonlyMap<Node, Group>): void {
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

/**
 * True when `node` needs a member of the group, itself or through all that its kernel computes with it. Operands have smaller ids than
 * their readers, so old nodes end the search.
 */
export function dependsOn(
  node: Node,
  members: ReadonlySet<Node>,
  oldest: number,
  owner: ReadonlyMap<Node, Group>,
  seen: Set<Node> = new Set(),
): boolean {
  if (members.has(node)) return true;
  if (seen.has(node)) return false;
  seen.add(node);
  const together = owner.get(node)?.nodes ?? [];
  for (const other of together) if (dependsOn(other, members, oldest, owner, seen)) return true;
  return node.id >= oldest && node.inputs.some((x) => dependsOn(x, members, oldest, owner, seen));
}
