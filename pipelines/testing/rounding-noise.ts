// How far rounding may take a graph's results, as it does, and not as it could at worst: the graph once more with what is rounded on the way
// moved at random (Monte Carlo arithmetic: Parker 1997, with the sizes of Higham and Mary 2019 for sums). A bound for the worst case grows with
// every layer, until behind a few of them it refuses nothing.
import { Builder, type Graph, type Node } from '../../dsl/graph/graph.ts';
import { mapGraph, must, order } from '../../dsl/graph/walk.ts';
import { isFloat } from '../../dsl/graph/op.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { roles } from '../../dsl/ops/contract.ts';
import { sum } from '../../dsl/ops/reduce.ts';
import { input, nameOf, typeAttrs } from '../../dsl/ops/source.ts';
import { evaluateContract } from '../../runtime/reference/contract.ts';
import { evaluateMap, evaluateReduce } from '../../runtime/reference/element.ts';
import { evaluateScatter } from '../../runtime/reference/scatter-sort.ts';
import { evaluate, evaluateNodes, type Feeds, type Values } from '../../runtime/reference/reference.ts';

/** Unit roundoff of f32. */
const u = 2 ** -24;
/** Times the deviation that was seen: of more draws, other orders of sums, and functions that are rounded once where they are made of many steps. */
const margin = 16;
const draws = 2;

/** Outputs by name: the most that a correct result may be from the exact one, anywhere in it. Undefined where a result may jump. */
export function roundingNoise(graph: Graph, feeds: Feeds): ReadonlyMap<string, number> | undefined {
  const nodes = order(graph);
  if (mayJump(nodes)) return undefined;
  const exact = evaluateNodes(nodes, feeds, { precision: 'f64' });
  const sizes = new Map(
    nodes.flatMap((node): readonly [Node, Float64Array][] => {
      const size = movedBy(node, exact);
      return size === undefined ? [] : [[node, size]];
    }),
  );
  const moved = withNoise(graph, nodes, sizes);
  const found = new Map<string, number>();
  for (let draw = 0; draw < draws; draw++) {
    const random = randomSigns(draw);
    const inputs = new Map(feeds.inputs);
    for (const [name, size] of moved.noise)
      inputs.set(
        name,
        size.map((most) => most * random()),
      );
    const { outputs } = evaluate(moved.graph, { ...feeds, inputs }, { precision: 'f32' });
    for (const [name, node] of graph.outputs) {
      const [want, got] = [must(exact, node).data, outputs.get(name)?.data];
      let worst = found.get(name) ?? 0;
      let largest = 0;
      for (let i = 0; i < want.length; i++) {
        const [value, other] = [want[i] ?? NaN, got?.[i] ?? NaN];
        if (!Number.isFinite(value)) continue;
        largest = Math.max(largest, Math.abs(value));
        // What overflows on the way, as half precision may, has no number to be compared with.
        const away = Number.isNaN(other) ? Infinity : Math.abs(value - other);
        worst = Math.max(worst, margin * away, 4 * u * largest);
      }
      found.set(name, worst);
    }
  }
  return found;
}

/** Whether something that is rounded decides between results that are not neighbours: a comparison, a rank, a position. */
function mayJump(nodes: readonly Node[]): boolean {
  const isRounded = new Map<Node, boolean>();
  for (const node of nodes) {
    const { op } = node;
    const own = (op.kind === 'map' || op.kind === 'reduce') && op.rounding !== 0;
    const below = node.inputs.some((x) => must(isRounded, x));
    isRounded.set(node, isFloat(node.type.dtype) && (own || below || op.kind === 'contract' || op.kind === 'scatter'));
    const floats = node.inputs.filter((x) => isFloat(x.type.dtype) && must(isRounded, x));
    if (floats.length === 0) continue;
    if (op.kind === 'sort' || (op.kind === 'map' && op.jumps) || !isFloat(node.type.dtype)) return true;
  }
  return false;
}

/** What a device may be off by in a node by itself, where that is more than the rounding of one number; undefined otherwise. */
function movedBy(node: Node, exact: ReadonlyMap<Node, Values>): Float64Array | undefined {
  const { op, attrs, type } = node;
  if (!isFloat(type.dtype)) return undefined;
  const [a, b] = node.inputs.map((x) => must(exact, x));
  const y = must(exact, node);
  const finite = (size: Float64Array): Float64Array => size.map((x) => (Number.isFinite(x) ? x : 0));
  const absolute = (x: Values): Values => ({ ...x, data: x.data.map(Math.abs) });
  // Sums, products and the like are rounded once, as the interpreter does.
  if (op.kind === 'map' && op.rounding !== 0 && op.accuracy(1, [1, 1, 1]) > 4 * u)
    return finite(
      evaluateMap(
        { ...op, eval: (x, dtype) => op.accuracy(op.eval(x, dtype, attrs), x) },
        node.inputs.map((x) => must(exact, x)),
        attrs,
        y.axes,
        type.dtype,
      ),
    );
  if (op.kind === 'reduce' && op.rounding !== 0 && a !== undefined) {
    const terms = y.data.length === 0 ? 0 : a.data.length / y.data.length;
    return finite(evaluateReduce(sum, absolute(a), y.axes).map((size) => Math.sqrt(terms) * u * size));
  }
  if (op.kind === 'scatter' && a !== undefined && b !== undefined) {
    const add = (data: Float64Array) => evaluateScatter({ ...a, data }, b, op.read(attrs).axis, y.axes);
    const terms = add(a.data.map(() => 1));
    return finite(add(a.data.map(Math.abs)).map((size, i) => Math.sqrt(terms[i] ?? 0) * u * size));
  }
  const [left, right] = node.inputs;
  if (op.kind === 'contract' && a !== undefined && b !== undefined && left !== undefined && right !== undefined) {
    const parts = roles(left.type, right.type, type);
    const terms = parts.sum.reduce((n, { name }) => n * (a.axes.find((axis) => axis.name === name)?.size ?? 1), 1);
    const sizes = evaluateContract(absolute(a), absolute(b), parts, y.axes, 'f32');
    return finite(sizes.map((size) => Math.sqrt(terms) * u * size));
  }
  return undefined;
}

/** The graph with an input added to each of these nodes. */
function withNoise(graph: Graph, nodes: readonly Node[], sizes: ReadonlyMap<Node, Float64Array>) {
  const builder = new Builder();
  const noise = new Map<string, Float64Array>();
  const taken = new Set(nodes.filter((node) => node.op === input).map(nameOf));
  const made = new Map<Node, Node>();
  for (const node of nodes) {
    const own = builder.make(
      node.op,
      node.inputs.map((x) => must(made, x)),
      node.attrs,
      node.origin,
    );
    const size = sizes.get(node);
    if (size === undefined) {
      made.set(node, own);
      continue;
    }
    let name = `noise ${noise.size}`;
    while (taken.has(name)) name += "'";
    noise.set(name, size);
    const added = builder.make(input, [], { name, ...typeAttrs(node.type.axes, 'f32') }, node.origin);
    const wide = node.type.dtype === 'f32' ? own : builder.make(mapOp('cast'), [own], { to: 'f32' }, node.origin);
    const moved = builder.make(mapOp('add'), [wide, added], {}, node.origin);
    made.set(
      node,
      node.type.dtype === 'f32' ? moved : builder.make(mapOp('cast'), [moved], { to: node.type.dtype }, node.origin),
    );
  }
  return { graph: mapGraph(graph, (node) => must(made, node)), noise };
}

/** Numbers from −1 to 1, the same ones every time (a linear congruential generator: Numerical Recipes). */
function randomSigns(seed: number): () => number {
  let state = (seed + 1) * 2654435761;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}
