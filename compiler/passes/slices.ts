// Slices pushed down: every tensor is computed only as far as its readers ask, however deep the slice that asks stands.
import { axisOf, divideSize, printAxes, subtractSizes, type Axis, type Size } from '../../dsl/axis/axis.ts';
import type { Builder, Graph, Node } from '../../dsl/graph/graph.ts';
import { mapGraph, must, order, readersOf, roots } from '../../dsl/graph/walk.ts';
import type { Attrs } from '../../dsl/graph/op.ts';
import { broadcast, rearrange, window } from '../../dsl/ops/view.ts';
import type { GraphPass } from '../rewrite/pass.ts';
import { Rewriter } from '../rewrite/rewriter.ts';
import {
  admitted,
  everything,
  needed,
  paddedRange,
  rearrangedRange,
  sameRange,
  union,
  type Demand,
  type Range,
} from './demand.ts';
import { attrsOf } from './rearrangement.ts';
import { alongAxis } from '../../dsl/graph/attributes.ts';

/**
 * Backwards, the union of what the readers of a node ask for; forwards, each node over that range alone, and a slice on the
 * edge to a reader that asks for less. No element is computed twice, so the result is never more work than before. (Rules
 * that push one slice through one op must count readers, and a layerNorm, which reads its input twice, stops them.)
 */
export const slices: GraphPass = {
  name: 'slices',
  why: 'what no reader asks for is not computed: the last token of a decoder, the class token that is thrown away',
  run(graph, builder, fire) {
    const nodes = order(graph);
    if (!nodes.some((node) => node.op.name === 'slice')) return graph;
    const demands = demandsOf(graph, nodes);
    const made = new Map<Node, Node>();
    for (const node of nodes) {
      const demand = demands.get(node);
      if (demand === undefined) continue;
      const next = narrowed(node, demand, made, demands, builder);
      if (demand.size > 0 && node.op.name !== 'slice')
        fire(`narrow ${node.op.kind === 'view' ? node.op.name : node.op.kind}`);
      made.set(node, next);
    }
    return mapGraph(graph, (node) => must(made, node));
  },
};

function demandsOf(graph: Graph, nodes: readonly Node[]): ReadonlyMap<Node, Demand> {
  const demands = new Map<Node, Demand>();
  const repeated = repeatedNodes(nodes);
  for (const root of roots(graph)) demands.set(root, everything);
  for (const node of nodes.toReversed()) {
    const asked = demands.get(node);
    if (asked === undefined) continue;
    const own = admitted(node, asked);
    const demand = repeated.has(node) ? withoutLittle(own, node) : own;
    demands.set(node, demand);
    node.inputs.forEach((input, i) => {
      const need = needed(node, demand, i);
      if (need === undefined) return;
      const known = demands.get(input);
      demands.set(input, known === undefined ? wholeAxesDropped(need, input) : union(known, need, input.type.axes));
    });
  }
  return demands;
}

/** Less of an axis than this part of it is worth kernels of its own: 576 of 577 tokens are not. */
const nearlyAll = 15 / 16;

/**
 * Products of which another is like them, as a layer's is of the one before, and the maps that end them. Where nearly all of an axis is
 * asked for they compute all of it: the last layer of a tower then runs the kernels of the others.
 */
function repeatedNodes(nodes: readonly Node[]): ReadonlySet<Node> {
  const readers = readersOf(nodes);
  const alike = new Map<string, number>();
  const products = nodes.filter(({ op }) => op.kind === 'contract');
  for (const node of products) alike.set(likeness(node), (alike.get(likeness(node)) ?? 0) + 1);
  const repeated = new Set(products.filter((node) => (alike.get(likeness(node)) ?? 0) > 1));
  for (const node of nodes)
    if (node.op.kind === 'map' && node.inputs.some((input) => repeated.has(input) && readers.get(input)?.length === 1))
      repeated.add(node);
  return repeated;
}

/** What products share that compute as much of operands of the same types. */
function likeness({ inputs, type }: Node): string {
  return [type, ...inputs.map((input) => input.type)].map((t) => `${t.dtype} ${printAxes(t.axes)}`).join();
}

/** A demand without the ranges that are nearly all of their axis. */
function withoutLittle(demand: Demand, { type }: Node): Demand {
  return new Map(
    [...demand].filter(([name, { size }]) => {
      const whole = axisOf(type.axes, name)?.size;
      return typeof whole !== 'number' || typeof size !== 'number' || size < nearlyAll * whole;
    }),
  );
}

/** A range that is the whole axis asks for nothing in particular. */
function wholeAxesDropped(demand: Demand, node: Node): Demand {
  return new Map(
    [...demand].filter(([name, range]) => {
      const axis = axisOf(node.type.axes, name);
      return axis !== undefined && !sameRange(range, { start: 0, size: axis.size, step: 1 });
    }),
  );
}

/** The node computed over its demand, from operands computed over theirs. */
function narrowed(
  node: Node,
  demand: Demand,
  made: ReadonlyMap<Node, Node>,
  demands: ReadonlyMap<Node, Demand>,
  builder: Builder,
): Node {
  const r = new Rewriter(builder, node.origin);
  const inputs = node.inputs.flatMap((input, i) => {
    const need = needed(node, demand, i);
    return need === undefined ? [] : [taken(must(made, input), demands.get(input) ?? everything, need, r)];
  });
  const [first] = inputs;
  if (node.op.name === 'slice' && first !== undefined) return first;
  if (node.op.kind === 'join') return r.concat(inputs, alongAxis(node));
  if (inputs.every((input, i) => input === node.inputs[i]) && demand.size === 0) return node;
  const attrs = narrowedAttrs(node, demand);
  return attrs === undefined && first !== undefined ? first : r.make(node.op, inputs, attrs ?? node.attrs);
}

/** A tensor that was computed over `has`, cut to `need`. */
function taken(x: Node, has: Demand, need: Demand, r: Rewriter): Node {
  let result = x;
  for (const [name, range] of need) {
    const known: Range = has.get(name) ?? { start: 0, size: range.size, step: 1 };
    if (has.has(name) && sameRange(known, range)) continue;
    // Ranges with steps are only ever united with equal ones, so here the steps of what we have are 1.
    const start: Size = divideSize(subtractSizes(range.start, known.start), known.step) ?? 0;
    result = r.slice(result, name, start, range.size, range.step / known.step);
  }
  return result;
}

/** The attributes over a narrower range; undefined where the view has become the identity. */
function narrowedAttrs(node: Node, demand: Demand): Attrs | undefined {
  const sized = (axes: readonly Axis[]) =>
    axes.map(({ name, size }) => ({ name, size: demand.get(name)?.size ?? size }));
  if (node.op === broadcast) return { axes: sized(node.type.axes) };
  if (node.op === rearrange) {
    const attrs = attrsOf(node);
    const sizes = { ...attrs.sizes };
    for (const [name, range] of demand) {
      const part = rearrangedRange(node, name, range);
      if (part !== undefined) sizes[part.part] = part.range.size;
    }
    return { split: attrs.split, merge: attrs.merge.map(({ name, parts }) => ({ name, parts })), sizes };
  }
  if (node.op.name === 'pad') {
    const range = demand.get(alongAxis(node));
    const padded = range === undefined ? undefined : paddedRange(node, range);
    if (padded === undefined) return node.attrs;
    return padded.before === 0 && padded.after === 0
      ? undefined
      : { ...node.attrs, before: padded.before, after: padded.after };
  }
  if (node.op.name === 'window') {
    const { into, stride } = window.read(node.attrs);
    const range = demand.get(into[0]);
    return range === undefined ? node.attrs : { ...node.attrs, stride: stride * range.step };
  }
  return node.attrs;
}
