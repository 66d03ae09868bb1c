// Rewrite rules as rows: a pattern with typed captures, a condition, a replacement, and why the two sides are equal.
import { type Node } from '../../dsl/graph/graph.ts';
import type { Rewriter } from './rewriter.ts';
import { valuesOf } from '../../dsl/ops/source.ts';

/** A rewrite of one node. */
export interface Rule {
  readonly name: string;
  /** Why both sides are equal (up to rounding), and where it is not obvious, why the new side is cheaper. */
  readonly why: string;
  /** Op names or kinds that the rule can match; the walk asks no other rule. */
  readonly heads: readonly string[];
  /** The replacement, of the same type as `node`, or undefined where the rule does not apply. */
  apply(node: Node, rewriter: Rewriter): Node | undefined;
}

/** Matches a node and remembers parts of it under the names in `Captures`. */
export interface Pattern<Captures> {
  readonly heads: readonly string[];
  match(node: Node, found: Map<string, Node>): boolean;
  readonly '~captures'?: Captures;
}

type CapturesOf<P> = P extends Pattern<infer C> ? C : never;
type MergeCaptures<T extends readonly unknown[]> = T extends readonly [infer Head, ...infer Rest]
  ? CapturesOf<Head> & MergeCaptures<Rest>
  : unknown;

/** Any node, remembered under a name; a name used twice must match the same node (nodes are interned). */
export function any<const Name extends string>(name: Name): Pattern<Record<Name, Node>> {
  return {
    heads: [],
    match(node, found) {
      const known = found.get(name);
      found.set(name, known ?? node);
      return known === undefined || known === node;
    },
  };
}

/** As the inner pattern; the matched node itself is remembered too. */
export function as<const Name extends string, C>(name: Name, inner: Pattern<C>): Pattern<C & Record<Name, Node>> {
  return {
    heads: inner.heads,
    match: (node, found) => inner.match(node, found) && any(name).match(node, found),
  };
}

/** The same number everywhere: a scalar constant, or a broadcast of one. */
export function lit(value: number): Pattern<unknown> {
  return { heads: [], match: (node) => scalarValue(node) === value };
}

/** Any number that is the same everywhere, remembered under a name. */
export function number<const Name extends string>(name: Name): Pattern<Record<Name, Node>> {
  return { heads: [], match: (node, found) => scalarValue(node) !== undefined && any(name).match(node, found) };
}

/** A node of this op (its name); operands of a commutative op match in either order. */
export function op<const P extends readonly Pattern<unknown>[]>(name: string, ...inputs: P): Pattern<MergeCaptures<P>> {
  const inOrder = (nodes: readonly Node[], found: Map<string, Node>) =>
    inputs.every((pattern, i) => {
      const node = nodes[i];
      return node !== undefined && pattern.match(node, found);
    });
  return {
    heads: [name],
    match(node, found) {
      if (node.op.name !== name || node.inputs.length !== inputs.length) return false;
      const before = [...found];
      if (inOrder(node.inputs, found)) return true;
      if (node.op.kind !== 'map' || !node.op.commutes) return false;
      found.clear();
      for (const [key, value] of before) found.set(key, value);
      return inOrder(node.inputs.toReversed(), found);
    },
  };
}

/** The value of a node that is the same number everywhere, if it is one. */
export function scalarValue(node: Node): number | undefined {
  const inner = node.op.kind === 'view' && node.op.shows === 'repeated' ? node.inputs[0] : node;
  return inner === undefined || inner.type.axes.length > 0 ? undefined : valuesOf(inner)?.[0];
}

interface Row<C> {
  readonly name: string;
  readonly why: string;
  readonly from: Pattern<C>;
  /** A condition on what the pattern found. */
  when?(found: C, node: Node, rewriter: Rewriter): boolean;
  to(found: C, rewriter: Rewriter, node: Node): Node | undefined;
}

/** A rule whose left side a pattern can say. */
export function rule<C>(row: Row<C>): Rule {
  return {
    name: row.name,
    why: row.why,
    heads: row.from.heads,
    apply(node, rewriter) {
      const found = new Map<string, Node>();
      if (!row.from.match(node, found)) return undefined;
      const captures = Object.fromEntries(found) as C;
      return row.when === undefined || row.when(captures, node, rewriter)
        ? row.to(captures, rewriter, node)
        : undefined;
    },
  };
}
