// The norm between two products by matrix units. What it asks of a row is split along the axis: the kernel of the product in front, which has
// some columns of a row at hand, leaves mean and squared deviations of each segment of them (or a sum of squares), and the kernel behind merges
// those of its rows (Chan, Golub and LeVeque 1979) and normalises while it stages them. No kernel reads a row to say what it is like.
import { namesOf } from '../../dsl/axis/axes.ts';
import { axisOf } from '../../dsl/axis/axis.ts';
import type { Builder, Graph, Node } from '../../dsl/graph/graph.ts';
import { mapGraph, must, order, readersOf, roots } from '../../dsl/graph/walk.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { sum } from '../../dsl/ops/reduce.ts';
import { iota } from '../../dsl/ops/source.ts';
import { pad, rearrange } from '../../dsl/ops/view.ts';
import type { RowParts } from '../fuse/group.ts';
import { findAttention } from '../match/attention/attention.ts';
import { matchRowMoment, type RowMoment } from '../match/composites.ts';
import { findRowStatistics, type RowOperand } from '../match/row-statistics.ts';
import { rebuilt } from '../rewrite/rebuilt.ts';
import { Rewriter } from '../rewrite/rewriter.ts';

export interface PartialStatisticsOptions {
  readonly builder: Builder;
  /** The rows and summed axes of a product whose kernel can merge statistics of its rows; undefined for every other. */
  readonly mergedRows: (contract: Node) => RowOperand | undefined;
  /** Columns of a segment that the kernel of a product can leave statistics of, along its only axis of columns; undefined where it can of none. */
  readonly segmentOf: (contract: Node) => number | undefined;
  /** Buffers that a kernel may bind. */
  readonly mostBindings: number;
}

export interface PartialStatistics {
  readonly graph: Graph;
  /** By the value whose rows they are of. */
  readonly parts: ReadonlyMap<Node, RowParts>;
  /** A node of the graph before, after. */
  readonly now: (node: Node) => Node;
  /** Why norms in front of products by matrix units stay kernels, once for each. */
  readonly whole: readonly string[];
}

/** Buffers of the statistics that a kernel leaves or reads. */
const buffers = 2;

export function partialStatistics(graph: Graph, options: PartialStatisticsOptions): PartialStatistics {
  const { builder } = options;
  const nodes = order(graph);
  const { moments, whole } = momentsInParts(graph, nodes, options);
  if (moments.size === 0) return { graph, parts: new Map(), now: (node) => node, whole };
  const parts = new Map<Node, RowParts>();
  const taken = new Set(nodes.flatMap((node) => namesOf(node.type.axes)));
  const fresh = (stem: string): string => (taken.has(stem) ? fresh(`${stem}_`) : stem);
  const made = new Map<Node, Node>();
  for (const node of nodes) {
    const found = moments.get(node);
    const next =
      found === undefined
        ? rebuilt(node, (input) => must(made, input), builder)
        : merged(node, found, { made, parts, builder, fresh });
    made.set(node, next);
  }
  return { graph: mapGraph(graph, (node) => must(made, node)), parts, now: (node) => made.get(node) ?? node, whole };
}

interface InParts {
  readonly moment: RowMoment;
  readonly segment: number;
}

/** The reductions that can be made so, each with the columns of a segment. */
function momentsInParts(
  graph: Graph,
  nodes: readonly Node[],
  { mergedRows, segmentOf, mostBindings }: PartialStatisticsOptions,
): { readonly moments: ReadonlyMap<Node, InParts>; readonly whole: readonly string[] } {
  const readers = readersOf(nodes);
  const kept = new Set(roots(graph));
  const inAttention = new Set(
    nodes.flatMap((node) => (node.op.kind === 'contract' ? [...(findAttention(node, () => false)?.nodes ?? [])] : [])),
  );
  const isFree = (node: Node): boolean => node.op.kind === 'contract' && !inAttention.has(node);
  const moments = new Map<Node, InParts>();
  const whole: string[] = [];
  const norms = findRowStatistics(nodes, {
    rowOperand: (node) => (isFree(node) ? mergedRows(node) : undefined),
    readersOf: (node) => readers.get(node) ?? [],
    isTaken: (node) => kept.has(node),
  });
  for (const norm of norms) {
    const own = [...norm]
      .filter((node) => node.op.kind === 'reduce')
      .map((node): [Node, RowMoment | undefined] => [node, matchRowMoment(node)]);
    const [first] = own.flatMap(([, moment]) => moment ?? []);
    const isOfOne = own.every(([, moment]) => moment?.x === first?.x && moment?.axis === first?.axis);
    if (first === undefined || !isOfOne || norm.has(first.x)) {
      whole.push('it asks more of its rows than moments');
      continue;
    }
    const product = lastProduct(first.x);
    const segment = product === undefined || !isFree(product) ? undefined : segmentOf(product);
    if (segment === undefined || product === undefined) {
      whole.push('no product by matrix units makes its rows');
      continue;
    }
    if (product.type.axes.at(-1)?.name !== first.axis) {
      whole.push('it is not along the columns of the product in front');
      continue;
    }
    const behind = nodes.filter((node) => isFree(node) && node.inputs.some((input) => norm.has(input)));
    if ([product, ...behind].some((node) => bindingsAround(node, norm, readers) + buffers > mostBindings)) {
      whole.push('too many buffers for one kernel');
      continue;
    }
    for (const [node, moment] of own) if (moment !== undefined) moments.set(node, { moment, segment });
  }
  return { moments, whole };
}

/** The product whose kernel makes a value: of all that it is a sum of, the last. */
function lastProduct(x: Node): Node | undefined {
  const seen = new Set<Node>();
  let last: Node | undefined;
  const open = [x];
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (seen.has(node) || (last !== undefined && node.id < last.id)) continue;
    seen.add(node);
    const isAlike =
      node.type.axes.length === x.type.axes.length &&
      node.type.axes.every(({ name }) => axisOf(x.type.axes, name) !== undefined);
    if (!isAlike) continue;
    if (node.op.kind === 'contract') last = node;
    else if (node.op.kind === 'map' && !node.op.apart) open.push(...node.inputs);
  }
  return last;
}

/** Buffers that the kernel of a product binds, or fewer: what maps and views around it read and what it writes. */
function bindingsAround(product: Node, norm: ReadonlySet<Node>, readers: ReadonlyMap<Node, readonly Node[]>): number {
  const leaves = new Set<Node>();
  const under = (node: Node): void => {
    if (norm.has(node) || node.op.kind === 'view') node.inputs.forEach(under);
    else if (node.type.axes.length > 0) leaves.add(node);
  };
  product.inputs.forEach(under);
  for (let end = product; ;) {
    const [next, ...more] = (readers.get(end) ?? []).filter((reader) => reader.op.kind === 'map' && !norm.has(reader));
    if (next === undefined || more.length > 0) break;
    next.inputs.filter((input) => input !== end).forEach(under);
    end = next;
  }
  return leaves.size + 1;
}

interface Making {
  readonly made: ReadonlyMap<Node, Node>;
  readonly parts: Map<Node, RowParts>;
  readonly builder: Builder;
  /** A name that no axis of the graph has. */
  readonly fresh: (stem: string) => string;
}

/** A reduction, as one of what segments of its rows are reduced to. */
function merged(reduction: Node, { moment, segment }: InParts, { made, parts, builder, fresh }: Making): Node {
  const r = new Rewriter(builder, reduction.origin);
  const x = must(made, moment.x);
  const { axis } = moment;
  const length = Number(axisOf(x.type.axes, axis)?.size);
  const [part, within] = [fresh(`segment_of_${axis}`), fresh(`${axis}_in_segment`)];
  const count = Math.ceil(length / segment);
  const rest = length - (count - 1) * segment;
  const nodes: Node[] = [];
  const own = (node: Node): Node => {
    nodes.push(node);
    return node;
  };
  const inSegments = (node: Node): Node => {
    const names = namesOf(node.type.axes);
    const full =
      rest === segment ? node : own(r.make(pad, [node], { axis, before: 0, after: segment - rest, value: 0 }));
    return own(
      r.make(rearrange, [full], {
        split: names.map((name) => (name === axis ? [part, within] : [name])),
        merge: names
          .flatMap((name) => (name === axis ? [part, within] : [name]))
          .map((name) => ({ name, parts: [name] })),
        sizes: {
          ...Object.fromEntries(node.type.axes.map((each) => [each.name, each.size])),
          [part]: count,
          [within]: segment,
        },
      }),
    );
  };
  const total = (node: Node, name: string): Node => r.make(sum, [node], { axes: [name] });
  const square = (node: Node): Node => r.map('mul', node, node);
  /** What is one number of every segment but the last, which may be shorter. */
  const ofSegment = (usual: number, last: number): Node => {
    if (rest === segment) return r.scalar(usual, 'f32');
    const at = r.make(iota, [], { axes: [{ name: part, size: count }], dtype: 'i32' });
    return r.map('where', r.map('eq', at, r.scalar(count - 1, 'i32')), r.scalar(last, 'f32'), r.scalar(usual, 'f32'));
  };
  const elements = ofSegment(segment, rest);
  const narrow = inSegments(x);
  const wide = x.type.dtype === 'f32' ? narrow : own(r.make(mapOp('cast'), [narrow], { to: 'f32' }));
  const finish = (results: readonly Node[]): void => {
    const known = parts.get(x);
    parts.set(x, {
      axis: part,
      within,
      nodes: new Set([...(known?.nodes ?? []), ...nodes]),
      results: [...new Set([...(known?.results ?? []), ...results])],
    });
  };
  if (moment.kind === 'squares') {
    const squares = own(total(own(square(wide)), within));
    finish([squares]);
    return total(squares, part);
  }
  const mean = own(r.map('mul', own(total(wide, within)), ofSegment(1 / segment, 1 / rest)));
  if (moment.kind === 'sum' || moment.around === undefined) {
    finish([mean]);
    return total(r.map('mul', mean, elements), part);
  }
  const deviation = own(r.map('sub', wide, mean));
  const isElement = (): Node => {
    const one = r.broadcast(r.scalar(1, 'f32'), [{ name: axis, size: length }]);
    return inSegments(one);
  };
  const inside = rest === segment ? deviation : own(r.map('mul', deviation, isElement()));
  const deviations = own(total(own(square(inside)), within));
  finish([mean, deviations]);
  const apart = r.map('sub', mean, must(made, moment.around));
  return total(r.map('add', deviations, r.map('mul', square(apart), elements)), part);
}
