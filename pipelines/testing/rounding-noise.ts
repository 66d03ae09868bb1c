// How far rounding may take a graph's results, as it does, and not as it could at worst: the graph once more with what is rounded on the way
// moved at random (Monte Carlo arithmetic: Parker 1997, with the sizes of Higham and Mary 2019 for sums). A bound for the worst case grows with
// every layer, until behind a few of them it refuses nothing.
import { Builder, type Graph, type Node } from '../../dsl/graph/graph.ts';
import { must, order } from '../../dsl/graph/walk.ts';
import { isFloat, type Attrs, type DType } from '../../dsl/graph/op.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { roles } from '../../dsl/ops/contract.ts';
import { sum } from '../../dsl/ops/reduce.ts';
import { input, nameOf, typeAttrs } from '../../dsl/ops/source.ts';
import { evaluateContract } from '../../runtime/reference/contract.ts';
import { evaluateMap, evaluateReduce } from '../../runtime/reference/element.ts';
import { evaluateScatter } from '../../runtime/reference/scatter-sort.ts';
import { evaluateNodes, type Feeds, type Values } from '../../runtime/reference/reference.ts';
import { choicesOf, exactIn, openChoices, roundedAmong, type Open } from './open-choices.ts';

/** Unit roundoff of f32. */
const u = 2 ** -24;
/** Times the deviation that was seen: of more draws, other orders of sums, and functions that are rounded once where they are made of many steps. */
const margin = 16;
const draws = 2;
/** Draws in which choices are turned that rounding may turn. */
const turns = 4;

/** Outputs by name: the most that a correct result may be from the exact one, anywhere in it. Undefined where a result may jump. */
export function roundingNoise(graph: Graph, feeds: Feeds): ReadonlyMap<string, number> | undefined {
  const nodes = order(graph);
  const exact = evaluateNodes(nodes, feeds, { precision: 'f64' });
  const sizes = new Map(
    nodes.flatMap((node): readonly [Node, Float64Array][] => {
      const size = movedBy(node, exact);
      return size === undefined ? [] : [[node, size]];
    }),
  );
  const found = new Map([...graph.outputs.keys()].map((name) => [name, 0]));
  const rounded = roundedAmong(nodes);
  const choices = choicesOf(nodes, rounded);
  const away = new Map<Node, Float64Array>(
    choices.flatMap((choice) => [...choice.rounded].map((x) => [x, new Float64Array(0)])),
  );
  const moved = withNoise(nodes, sizes, new Map());
  for (let draw = 0; draw < draws; draw++) {
    const values = valuesIn(moved, feeds, [...away.keys(), ...graph.outputs.values()], randomSigns(draw));
    widen(found, graph, exact, values);
    for (const [node, most] of away) away.set(node, furthest(must(exact, node), must(values, node), most));
  }
  const open = openChoices(choices, (node) => {
    const [values, most] = [must(exact, node), away.get(node)];
    const error = most === undefined ? values.data.map(() => 0) : reach(values, most, exactIn(node, rounded, exact));
    return { ...values, error };
  });
  if (open === undefined || open.size === 0) return open === undefined ? undefined : found;
  // What may be chosen otherwise is: all of it at once, then here and there. Where both ways lead to the same, as in a ReLU, the results say so.
  const turned = withNoise(nodes, sizes, open);
  for (let draw = 0; draw < turns; draw++)
    widen(
      found,
      graph,
      exact,
      valuesIn(turned, feeds, [...graph.outputs.values()], randomSigns(draws + draw), draw === 0 ? 1 : 0.5),
    );
  return found;
}

/** The largest that an element was moved so far. */
function furthest(exact: Values, moved: Values, most: Float64Array): Float64Array {
  return moved.data.map((value, i) => Math.max(most[i] ?? 0, apart(value, exact.data[i] ?? NaN)));
}

function apart(value: number, exact: number): number {
  if (Object.is(value, exact)) return 0;
  const away = Math.abs(value - exact);
  return Number.isNaN(away) ? Infinity : away;
}

/** From how far an element was moved, how far it may be: no element that moved is nearer than its tensor's are on average. */
function reach({ data }: Values, away: Float64Array, isExact: Float64Array | undefined): Float64Array {
  const moved = away.filter((size) => size > 0 && Number.isFinite(size));
  const mean = moved.reduce((total, size) => total + size / moved.length, 0);
  return away.map((size, i) => {
    const least = isExact?.[i] !== 1 && Number.isFinite(data[i]) ? 2 * u * Math.abs(data[i] ?? NaN) : 0;
    return Math.max(least, size === 0 ? 0 : margin * Math.max(size, mean));
  });
}

/** Values of these nodes where each addend is drawn, and of open choices this share is turned. */
function valuesIn(
  { made, noise, flips, others }: Moved,
  feeds: Feeds,
  nodes: readonly Node[],
  random: () => number,
  share = 0,
): ReadonlyMap<Node, Values> {
  const inputs = new Map([...feeds.inputs, ...others]);
  for (const [name, size] of noise)
    inputs.set(
      name,
      size.map((most) => most * random()),
    );
  for (const [name, isOpen] of flips)
    inputs.set(
      name,
      isOpen.map((is) => (random() < 2 * share - 1 ? is : 0)),
    );
  const of = (node: Node): Node => must(made, node);
  const values = evaluateNodes(nodes.map(of), { ...feeds, inputs }, { precision: 'f32' });
  return new Map(nodes.map((node) => [node, must(values, of(node))]));
}

/** Widens what was found so far by how far these outputs are from the exact ones. */
function widen(
  found: Map<string, number>,
  graph: Graph,
  exact: ReadonlyMap<Node, Values>,
  values: ReadonlyMap<Node, Values>,
): void {
  for (const [name, node] of graph.outputs) {
    const [want, got] = [must(exact, node).data, must(values, node).data];
    let worst = found.get(name) ?? 0;
    let largest = 0;
    for (let i = 0; i < want.length; i++) {
      const [value, other] = [want[i] ?? NaN, got[i] ?? NaN];
      if (!Number.isFinite(value)) continue;
      largest = Math.max(largest, Math.abs(value));
      // What overflows on the way, as half precision may, has no number to be compared with.
      const away = Number.isNaN(other) ? Infinity : Math.abs(value - other);
      worst = Math.max(worst, margin * away, 4 * u * largest);
    }
    found.set(name, worst);
  }
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

/** A graph in which values are moved: what each node became, and the inputs that say by how much at most, where a choice may turn, and to what. */
interface Moved {
  readonly made: ReadonlyMap<Node, Node>;
  readonly noise: ReadonlyMap<string, Float64Array>;
  readonly flips: ReadonlyMap<string, Float64Array>;
  readonly others: ReadonlyMap<string, Float64Array>;
}

/** The graph with an input added to each node of `sizes`, and each of `open` turned where an input is true. */
function withNoise(
  nodes: readonly Node[],
  sizes: ReadonlyMap<Node, Float64Array>,
  open: ReadonlyMap<Node, Open>,
): Moved {
  const builder = new Builder();
  const noise = new Map<string, Float64Array>();
  const [flips, others] = [new Map<string, Float64Array>(), new Map<string, Float64Array>()];
  const taken = new Set(nodes.filter((node) => node.op === input).map(nameOf));
  const made = new Map<Node, Node>();
  for (const node of nodes) {
    const apply = (name: string, inputs: readonly Node[], attrs: Attrs = {}): Node =>
      builder.make(mapOp(name), inputs, attrs, node.origin);
    const own = builder.make(
      node.op,
      node.inputs.map((x) => must(made, x)),
      node.attrs,
      node.origin,
    );
    const added = (dtype: DType): readonly [string, Node] => {
      let name = `noise ${noise.size + flips.size + others.size}`;
      while (taken.has(name)) name += "'";
      return [name, builder.make(input, [], { name, ...typeAttrs(node.type.axes, dtype) }, node.origin)];
    };
    const [size, turns] = [sizes.get(node), open.get(node)];
    if (turns !== undefined) {
      const [name, flip] = added('bool');
      flips.set(name, turns.isOpen);
      if (turns.other === undefined)
        made.set(node, apply('and', [apply('or', [own, flip]), apply('not', [apply('and', [own, flip])])]));
      else {
        const [otherwise, other] = added(node.type.dtype);
        others.set(otherwise, turns.other);
        made.set(node, apply('where', [flip, other, own]));
      }
    } else if (size === undefined) made.set(node, own);
    else {
      const [name, addend] = added('f32');
      noise.set(name, size);
      const { dtype } = node.type;
      const moved = apply('add', [dtype === 'f32' ? own : apply('cast', [own], { to: 'f32' }), addend]);
      made.set(node, dtype === 'f32' ? moved : apply('cast', [moved], { to: dtype }));
    }
  }
  return { made, noise, flips, others };
}

/** Numbers from −1 to 1, the same ones every time (a linear congruential generator: Numerical Recipes). */
function randomSigns(seed: number): () => number {
  let state = (seed + 1) * 2654435761;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  };
}
