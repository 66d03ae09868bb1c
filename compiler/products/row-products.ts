// Products whose kernels can make several of the same rows, after the weights have their layout: what lies in memory stays as it is, for other
// plans read it too. Two rules, each the other's mirror. Slices of one product that meet in a map (gate and up) become products of slices of
// its weights: one kernel makes both, and the map with them. Products of few rows that share these and whose weights are quantized, which no
// load-time work may join, become one product that reads the weights end to end: one launch instead of three.
import { namesOf } from '../../dsl/axis/axes.ts';
import { axisOf, sizeBound, type Axis } from '../../dsl/axis/axis.ts';
import type { Builder, Graph, Node } from '../../dsl/graph/graph.ts';
import { mapGraph, mapsAfter, must, order, readersOf, roots } from '../../dsl/graph/walk.ts';
import { roles } from '../../dsl/ops/contract.ts';
import { slice } from '../../dsl/ops/view.ts';
import { withBias, type Biased } from '../match/linear-map.ts';
import type { RowOperand } from '../match/row-statistics.ts';
import { isFixed, isUnpacked } from '../rewrite/fixed.ts';
import { rebuilt } from '../rewrite/rebuilt.ts';
import { Rewriter } from '../rewrite/rewriter.ts';

export interface RowProductsOptions {
  readonly builder: Builder;
  /** Undefined for what is not a product whose kernel can make others of its rows, or not one of few rows. */
  readonly rowOperand: (node: Node) => RowOperand | undefined;
  readonly splitRows: (node: Node) => RowOperand | undefined;
  /** Columns that a product of many rows has at least, if its kernel is to make others of its rows. */
  readonly leastColumns: number;
  /** Parts that the sum of a product of so many columns is made in; of several no map can be in the kernel. */
  readonly partsOf: (node: Node, columns: number) => number;
  /** Buffers that a kernel may bind. */
  readonly mostBindings: number;
}

/** The graph with both rules applied, first the slices, then the joins. Values stay the same. */
export function rewriteRowProducts(graph: Graph, options: RowProductsOptions): Graph {
  return withWeightsJoined(withSlicesApart(graph, options), options);
}

type Readers = ReadonlyMap<Node, readonly Node[]>;

/** A product of few rows, and what is added to it. */
interface Sliced extends Biased {
  readonly product: Node;
}

function withSlicesApart(graph: Graph, options: RowProductsOptions): Graph {
  const { builder, rowOperand, splitRows, leastColumns, partsOf } = options;
  const nodes = order(graph);
  const readers = readersOf(nodes);
  const kept = new Set(roots(graph));
  const apart = new Map<Node, Sliced>();
  for (const product of nodes) {
    const operand = kept.has(product) ? undefined : rowOperand(product);
    const column = operand === undefined ? undefined : columnOf(product, operand.rows);
    if (column === undefined) continue;
    const sliced = { product, ...withBias(product, column.name, readers, kept) };
    const least = splitRows(product) === undefined ? leastColumns : 0;
    const slices = meetingSlices(sliced.end, { column: column.name, least }, readers, kept);
    if (slices.some(({ attrs }) => partsOf(product, sizeBound(slice.read(attrs).size)) > 1)) continue;
    for (const taken of slices) apart.set(taken, sliced);
  }
  return apart.size === 0
    ? graph
    : replaced(graph, builder, (node, made) => {
        const sliced = apart.get(node);
        return sliced === undefined ? undefined : ofSlicedWeights(node, sliced, made, builder);
      });
}

/** All readers, if they are slices along the column of a product, of so many columns at least, whose maps meet one another. */
function meetingSlices(
  end: Node,
  { column, least }: { readonly column: string; readonly least: number },
  readers: Readers,
  kept: ReadonlySet<Node>,
): readonly Node[] {
  const slices = readers.get(end) ?? [];
  if (slices.length < 2 || kept.has(end)) return [];
  const after = slices.map((node) => mapsAfter(node, readers));
  const meets = slices.every(
    (node, i) =>
      node.op === slice &&
      slice.read(node.attrs).axis === column &&
      sizeBound(slice.read(node.attrs).size) >= least &&
      after.some((other, k) => k !== i && [...(after[i] ?? [])].some((map) => other.has(map))),
  );
  return meets ? slices : [];
}

/** The weights of a product, where one operand is such, and not the one that gives its few rows. */
function weightsOf(product: Node, rows: Node): Node | undefined {
  const [first, ...more] = product.inputs.filter((x) => isFixed(x) || isUnpacked(x));
  return more.length === 0 && first !== rows ? first : undefined;
}

/** The axis of a product that is its weights' alone, where there is one of a fixed size. */
function columnOf(product: Node, given: Node): Axis | undefined {
  const weights = weightsOf(product, given);
  const [a, b] = product.inputs;
  if (weights === undefined || a === undefined || b === undefined) return undefined;
  const { rows, columns } = roles(a.type, b.type, product.type);
  const [column, ...more] = weights === a ? rows : columns;
  return more.length === 0 && typeof column?.size === 'number' ? column : undefined;
}

function ofSlicedWeights(node: Node, { product, bias }: Sliced, made: ReadonlyMap<Node, Node>, builder: Builder): Node {
  const { axis, start, size, step } = slice.read(node.attrs);
  const r = new Rewriter(builder, node.origin);
  const operands = product.inputs.map((x) => {
    const next = must(made, x);
    return axisOf(x.type.axes, axis) === undefined ? next : r.slice(next, axis, start, size, step);
  });
  const own = r.make(product.op, operands, product.attrs);
  return bias === undefined ? own : r.map('add', own, r.slice(must(made, bias), axis, start, size, step));
}

/** A product, its weights, and the axis along which they can be joined with others. */
interface Member {
  readonly product: Node;
  readonly weights: Node;
  readonly column: Axis;
}

function withWeightsJoined(graph: Graph, { builder, splitRows, mostBindings }: RowProductsOptions): Graph {
  const nodes = order(graph);
  const readers = readersOf(nodes);
  const kept = new Set(roots(graph));
  const byRows = new Map<string, Member[]>();
  for (const product of nodes) {
    const operand = kept.has(product) ? undefined : splitRows(product);
    const member = operand === undefined ? undefined : memberOf(product, operand.rows, readers);
    if (operand === undefined || member === undefined) continue;
    const key = `${operand.rows.id} ${operand.sum.join()} ${product.type.dtype} ${namesOf(product.type.axes).join()}`;
    byRows.set(key, [...(byRows.get(key) ?? []), member]);
  }
  const groups = new Map<Node, readonly Member[]>();
  for (const group of byRows.values()) {
    const leaves = new Set(group.flatMap(({ weights }) => sourcesUnder(weights)));
    // Besides: the rows and the result.
    if (group.length > 1 && leaves.size + 2 <= mostBindings)
      for (const { product } of group) groups.set(product, group);
  }
  if (groups.size === 0) return graph;
  const joined = new Map<readonly Member[], Node>();
  return replaced(graph, builder, (node, made) => {
    const group = groups.get(node);
    const [first] = group ?? [];
    if (group === undefined || first === undefined) return undefined;
    const column = first.column.name;
    const own = new Rewriter(builder, node.origin);
    let all = joined.get(group);
    if (all === undefined) {
      const layout = namesOf(first.weights.type.axes);
      const weights = own.concat(
        group.map(({ weights: each }) => own.relabel(each, layout)),
        column,
      );
      const inputs = first.product.inputs.map((x) => (x === first.weights ? weights : must(made, x)));
      all = own.make(first.product.op, inputs, first.product.attrs);
      joined.set(group, all);
    }
    const at = group.findIndex(({ product }) => product === node);
    const before = group.slice(0, at).reduce((sum, member) => sum + Number(member.column.size), 0);
    return own.slice(all, column, before, group[at]?.column.size ?? 0);
  });
}

/** A product whose weights are quantized, and whose result goes through no map that belongs to it. */
function memberOf(product: Node, rows: Node, readers: Readers): Member | undefined {
  const [weights, column] = [weightsOf(product, rows), columnOf(product, rows)];
  const isPlain = [...mapsAfter(product, readers)].every((map) => map.op.kind === 'map' && map.op.converts);
  return weights === undefined || column === undefined || !isUnpacked(weights) || !isPlain
    ? undefined
    : { product, weights, column };
}

function sourcesUnder(node: Node): readonly Node[] {
  if (node.op.kind === 'source') return node.op.role === 'param' || node.op.role === 'loaded' ? [node] : [];
  return node.inputs.flatMap(sourcesUnder);
}

/** The graph with some nodes replaced: `replace` is given a node and what all before it have become. */
function replaced(
  graph: Graph,
  builder: Builder,
  replace: (node: Node, made: ReadonlyMap<Node, Node>) => Node | undefined,
): Graph {
  const made = new Map<Node, Node>();
  for (const node of order(graph))
    made.set(node, replace(node, made) ?? rebuilt(node, (input) => must(made, input), builder));
  return mapGraph(graph, (node) => must(made, node));
}
