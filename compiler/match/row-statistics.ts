// A norm in front of a product: reductions along what the product sums, and the maps between them and its rows. A kernel of the product that
// reads whole rows can make them for itself: one launch less, and nothing stored in between.
import { axisOf, sizesEqual } from '../../dsl/axis/axis.ts';
import { reducedAxes, type Node } from '../../dsl/graph/graph.ts';
import { isFloat } from '../../dsl/graph/op.ts';
import { valuesOf } from '../../dsl/ops/source.ts';
import { renaming } from './renaming.ts';

/** The operand of a product that gives its rows, and the axes that are summed. */
export interface RowOperand {
  readonly rows: Node;
  readonly sum: readonly string[];
  /** Axes that count what other kernels have left of each row: this product's kernel reduces these, and no rows. Absent: it reduces rows. */
  readonly parts?: ReadonlySet<string> | undefined;
}

export interface RowStatisticsQuery {
  /** Undefined for what is not a product, or one whose kernel cannot reduce its rows. */
  readonly rowOperand: (node: Node) => RowOperand | undefined;
  readonly readersOf: (node: Node) => readonly Node[];
  /** Has a kernel already, or must be stored. */
  readonly isTaken: (node: Node) => boolean;
}

/**
 * For each norm that products alone read, the nodes that each of their kernels computes for itself. Sound because such a kernel reads whole
 * rows, and because nothing else reads what is then nowhere stored.
 */
export function findRowStatistics(nodes: readonly Node[], query: RowStatisticsQuery): readonly ReadonlySet<Node>[] {
  const seen = new Set<Node>();
  return nodes.flatMap((node) => {
    const operand = query.rowOperand(node);
    if (operand === undefined || seen.has(operand.rows)) return [];
    seen.add(operand.rows);
    const found = statisticsOf(operand, query);
    return found === undefined ? [] : [found];
  });
}

function statisticsOf(operand: RowOperand, query: RowStatisticsQuery): ReadonlySet<Node> | undefined {
  const { names, norm } = underNames(operand, query);
  // What others read too, as the sums of a residual stream, is stored, and the norm begins behind it.
  const stored = new Set<Node>();
  for (;;) {
    const found = reachedFrom(norm, query, stored);
    if (!found.has(norm.rows)) return undefined;
    for (const view of names) found.add(view);
    const open = [...found].filter((node) => !isReadInside(node, found, operand, query));
    if (open.length === 0) return withLightOperands(found, query);
    if (open.includes(operand.rows) || open.includes(norm.rows)) return undefined;
    for (const node of open) stored.add(node);
  }
}

/** Views that only name axes otherwise, as self-attention does that gives its result the name of what it sums, and what is under them. */
function underNames(
  operand: RowOperand,
  { isTaken }: RowStatisticsQuery,
): { readonly names: readonly Node[]; readonly norm: RowOperand } {
  const { rows, sum } = operand;
  const [x] = rows.inputs;
  const renamed = x === undefined || isTaken(rows) ? undefined : renaming(rows);
  if (x === undefined || renamed === undefined) return { names: [], norm: operand };
  const before = [...renamed].filter(([, to]) => sum.includes(to)).map(([from]) => from);
  return { names: [rows], norm: { ...operand, rows: x, sum: before } };
}

/** The reductions along the rows that an operand waits for, and the maps behind them. */
function reachedFrom(operand: RowOperand, { isTaken }: RowStatisticsQuery, stored: ReadonlySet<Node>): Set<Node> {
  const found = new Set<Node>();
  const waits = new Map<Node, boolean>();
  /** True for a reduction, and for what is computed from one. */
  const visit = (node: Node): boolean => {
    const known = waits.get(node);
    if (known !== undefined) return known;
    const { kind } = node.op;
    if (isTaken(node) || stored.has(node) || (kind !== 'map' && kind !== 'reduce')) return false;
    // Any other reduction has a kernel of its own.
    if (kind === 'reduce' && !isAlong(node, operand)) return false;
    const isReached = node.inputs.map(visit).some((below) => below);
    const own = kind === 'reduce' || isReached;
    waits.set(node, own);
    if (own) found.add(node);
    return own;
  };
  visit(operand.rows);
  return found;
}

function isReadInside(
  node: Node,
  found: ReadonlySet<Node>,
  { rows, sum }: RowOperand,
  { rowOperand, readersOf }: RowStatisticsQuery,
): boolean {
  const isAlike = (other: RowOperand | undefined): boolean =>
    other?.rows === rows && [...other.sum].sort().join() === [...sum].sort().join();
  return readersOf(node).every(
    (reader) => found.has(reader) || (node === rows && isAlike(rowOperand(reader)) && readsOnce(reader, node)),
  );
}

/** With what only they read, and is little work on one value: it is computed from that value. */
function withLightOperands(found: Set<Node>, { isTaken, readersOf }: RowStatisticsQuery): ReadonlySet<Node> {
  const open = [...found].flatMap((node) => node.inputs);
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (found.has(node) || node.op.kind !== 'map' || node.op.flops > 1 || isTaken(node)) continue;
    const values = new Set(node.inputs.filter((x) => valuesOf(x)?.length !== 1));
    if (values.size !== 1 || !readersOf(node).every((reader) => found.has(reader))) continue;
    found.add(node);
    open.push(...values);
  }
  return found;
}

/** A float reduction over all that is summed and nothing else, of a tensor with no axes but those of the rows; or one over parts of each row. */
function isAlong(node: Node, { rows, sum, parts }: RowOperand): boolean {
  const [x] = node.inputs;
  const reduced = reducedAxes(node);
  if (parts !== undefined) return reduced.every((name) => parts.has(name));
  return (
    x !== undefined &&
    isFloat(node.type.dtype) &&
    reduced.length === sum.length &&
    reduced.every((name) => sum.includes(name)) &&
    x.type.axes.every(({ name, size }) => sizesEqual(axisOf(rows.type.axes, name)?.size ?? -1, size))
  );
}

function readsOnce(reader: Node, node: Node): boolean {
  return reader.inputs.filter((x) => x === node).length === 1;
}
