// Concatenations whose parts are written where they belong by the kernels that make them, and the ranges of those that are bound by themselves.
import { elementsOf } from '../../dsl/axis/axes.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import type { CacheJoin } from '../match/cache-join.ts';
import { neededBy, type Work } from './fusion.ts';
import { Owners, type PlacedJoin } from './group.ts';
import { isBindable, rangeUnder, type Range } from './ranges.ts';

/** A concatenation is stored when at least one part is the result of an anchor: that kernel writes into its range. */
export function placeJoins(nodes: readonly Node[], work: Work, caches: readonly CacheJoin[]): readonly PlacedJoin[] {
  const placed: PlacedJoin[] = [];
  const taken = new Set<Node>();
  const cacheOf = new Map(caches.map((c) => [c.join, c]));
  for (const n of nodes) {
    if (n.op.kind !== 'join') continue;
    const makes = (x: Node) => {
      const o = work.owner.get(x);
      return o !== undefined && o.roots.includes(x) && !work.copied.has(x) && !taken.has(x);
    };
    const cache = cacheOf.get(n);
    if (cache !== undefined) {
      const made = makes(cache.part) ? [cache.part] : [];
      made.forEach((p) => taken.add(p));
      placed.push({ join: n, parts: new Set(made), sections: n.inputs, ranges: new Map(), cache: cache.update });
      continue;
    }
    const ranges = withoutCopied(n, rangesOf(n, makes), work);
    if (ranges.size > 0) {
      for (const { node } of ranges.values()) taken.add(node);
      placed.push({
        join: n,
        parts: new Set(ranges.keys()),
        sections: n.inputs,
        ranges: new Map([...ranges.values()].map(({ node, start }) => [node, start])),
      });
      continue;
    }
    if (!n.inputs.some(makes) || new Set(n.inputs).size !== n.inputs.length) continue;
    // A part that another part is computed from, or a kernel that makes another one, stays apart: no kernel may read the buffer it writes, and
    // none may wait for all that is written to a buffer before something that it makes itself is.
    const parts = new Set(
      n.inputs.filter((x) => {
        if (!makes(x)) return false;
        const later = [reachedFrom(x, work), reachedFrom(x, { ...work, owner: new Owners() }, n)];
        return !n.inputs.some((y) => y !== x && later.some((reached) => reached.has(y)));
      }),
    );
    if (parts.size === 0) continue;
    parts.forEach((p) => taken.add(p));
    placed.push({ join: n, parts, sections: n.inputs, ranges: new Map() });
  }
  return placed;
}

interface JoinRange {
  readonly node: Node;
  readonly start: number;
}

/**
 * The operands of a concatenation along its only axis that show results of kernels in their order, and where these begin: each is bound as a
 * range of its own, so that kernels of equal layers stay one text, and none waits for another's.
 */
function rangesOf(join: Node, makes: (x: Node) => boolean): ReadonlyMap<Node, JoinRange> {
  const found = new Map<Node, JoinRange>();
  if (join.type.axes.length !== 1) return found;
  let start = 0;
  const seen = new Set<Node>();
  for (const operand of join.inputs) {
    const size = operand.type.axes[0]?.size;
    if (typeof size !== 'number') return new Map();
    const { of: node, start: offset } = rangeUnder(operand, makes);
    const isWhole = offset === 0 && elementsOf(node.type.axes) === size;
    if (operand !== node && isWhole && makes(node) && !seen.has(node) && isBindable(start, join.type.dtype))
      found.set(operand, { node, start });
    seen.add(node);
    start += size;
  }
  return found;
}

/**
 * Without the ranges that a part is computed from which has to be copied: whoever reads a range waits for all that is written to the whole.
 */
function withoutCopied(join: Node, found: ReadonlyMap<Node, JoinRange>, work: Work): ReadonlyMap<Node, JoinRange> {
  const copied = join.inputs.filter((operand) => !found.has(operand));
  const needed = neededBy(copied, new Set([...found.values()].map(({ node }) => node)), work.owner);
  return new Map([...found].filter(([, { node }]) => !needed.has(node)));
}

/** Where values lie in concatenations: those that are ranges of one, and what shows a range of it. */
export function rangesIn(joins: readonly PlacedJoin[], isStored: (n: Node) => boolean): (n: Node) => Range | undefined {
  const known = new Map(
    joins.flatMap(({ join, ranges }) => [...ranges].map(([node, start]) => [node, { of: join, start }])),
  );
  const whole = new Set(joins.map(({ join }) => join));
  return (n) => {
    const range = rangeUnder(n, (x) => known.has(x) || whole.has(x) || isStored(x));
    const outer = known.get(range.of);
    if (outer !== undefined) return { of: outer.of, start: outer.start + range.start };
    return whole.has(range.of) && range.of.type.axes.length === 1 ? range : undefined;
  };
}

/** Everything that waits for a stored value: its readers in other kernels, with all that those make besides. `but`: not by way of this one. */
function reachedFrom(x: Node, { readers, owner }: Work, but?: Node): ReadonlySet<Node> {
  const reached = new Set<Node>();
  const own = owner.get(x);
  const open = [x];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    for (const reader of readers.get(node) ?? []) {
      const group = owner.get(reader);
      if (reader === but || reached.has(reader) || (group !== undefined && group === own)) continue;
      for (const next of group?.nodes ?? [reader]) {
        if (reached.has(next)) continue;
        reached.add(next);
        open.push(next);
      }
    }
  }
  return reached;
}
