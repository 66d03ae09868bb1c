// A norm in front of a product: reductions along what the product sums, and the maps between them and its rows. Where the rows are few, the
// kernel of the product can make them for itself: it reads the rows anyway, and one launch less is what a decode step is made of.
import { axisOf, sizesEqual } from '../../dsl/axis/axis.ts';
import { reducedAxes, type Node } from '../../dsl/graph/graph.ts';
import { isFloat } from '../../dsl/graph/op.ts';
import { valuesOf } from '../../dsl/ops/source.ts';

/** The operand of a product that gives its rows, and the axes that are summed. */
export interface RowOperand {
  readonly rows: Node;
  readonly sum: readonly string[];
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

function statisticsOf(
  { rows, sum }: RowOperand,
  { rowOperand, readersOf, isTaken }: RowStatisticsQuery,
): ReadonlySet<Node> | undefined {
  const found = new Set<Node>();
  const waits = new Map<Node, boolean>();
  let isPlain = true;
  /** True for a reduction, and for what is computed from one. */
  const visit = (node: Node): boolean => {
    const known = waits.get(node);
    if (known !== undefined) return known;
    const { kind } = node.op;
    if (isTaken(node) || (kind !== 'map' && kind !== 'reduce')) return false;
    const isReached = node.inputs.map(visit).some((below) => below);
    if (kind === 'reduce' && !isAlong(node, rows, sum)) isPlain = false;
    const own = kind === 'reduce' || isReached;
    waits.set(node, own);
    if (own) found.add(node);
    return own;
  };
  visit(rows);
  if (!isPlain || found.size === 0 || !found.has(rows)) return undefined;
  const isInside = [...found].every((node) =>
    readersOf(node).every(
      (reader) => found.has(reader) || (node === rows && rowOperand(reader)?.rows === rows && readsOnce(reader, node)),
    ),
  );
  if (!isInside) return undefined;
  // What only they read, and is little work on one value, is computed from that value.
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

/** A float reduction over all that is summed and nothing else, of a tensor with no axes but those of the rows. */
function isAlong(node: Node, rows: Node, sum: readonly string[]): boolean {
  const [x] = node.inputs;
  const reduced = reducedAxes(node);
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
