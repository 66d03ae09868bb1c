// Judges a rewrite: both graphs on the same numbers through the interpreter in double precision.
import type { Graph, Node } from '../../dsl/graph/graph.ts';
import { order } from '../../dsl/graph/walk.ts';
import { evaluateSize, printAxes } from '../../dsl/axis/axis.ts';
import { print } from '../../dsl/text/print.ts';
import { evaluate, type Feeds, type Values } from '../../runtime/reference/reference.ts';
import { nameOf } from '../../dsl/ops/source.ts';

/** A graph with one output. */
export function graphOf(node: Node): Graph {
  return { outputs: new Map([['y', node]]), updates: [] };
}

function hash(text: string): number {
  let h = 2166136261;
  for (const char of text) h = Math.imul(h ^ char.charCodeAt(0), 16777619);
  return h >>> 0;
}

/** Numbers from −1 to 1 that depend on the name and the seed alone. */
export function numbersFor(name: string, count: number, seed = 0): Float64Array {
  let state = hash(`${name} ${seed}`);
  return Float64Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 31 - 1;
  });
}

/** Random feeds for every input, parameter and state; whole numbers from 0 to 3, truth values 0 and 1. */
export function feedsFor(graph: Graph, seed = 0, symbols: ReadonlyMap<string, number> = new Map()): Feeds {
  const inputs = new Map<string, Float64Array>();
  for (const node of order(graph)) {
    if (node.op.name !== 'input') continue;
    const count = node.type.axes.reduce((product, axis) => product * evaluateSize(axis.size, symbols), 1);
    const { dtype } = node.type;
    const numbers = numbersFor(nameOf(node), count, seed);
    inputs.set(
      nameOf(node),
      dtype === 'bool'
        ? numbers.map((x) => Number(x > 0))
        : dtype === 'i32' || dtype === 'u32'
          ? numbers.map((x) => Math.floor((x + 1) * 2))
          : numbers,
    );
  }
  return {
    inputs,
    symbols,
    params: (path, shape) =>
      numbersFor(
        path,
        shape.reduce((a, b) => a * b, 1),
        seed,
      ),
  };
}

/** Throws where two tensors differ by more than rounding in double precision. */
export function expectEqual(name: string, got: Values | undefined, want: Values, context: () => string): void {
  if (got === undefined) throw new Error(`${name} is missing\n${context()}`);
  const axes = (values: Values) => printAxes(values.axes);
  if (axes(got) !== axes(want) || got.dtype !== want.dtype)
    throw new Error(`${name}: ${axes(got)} ${got.dtype}, not ${axes(want)} ${want.dtype}\n${context()}`);
  const scale = want.data.reduce((largest, x) => (Number.isFinite(x) ? Math.max(largest, Math.abs(x)) : largest), 1);
  for (const [i, x] of want.data.entries()) {
    const y = got.data[i] ?? NaN;
    if (x !== y && !(Number.isNaN(x) && Number.isNaN(y)) && !(Math.abs(x - y) <= 1e-10 * scale))
      throw new Error(`${name}[${i}] is ${y}, not ${x}\n${context()}`);
  }
}

/** Throws unless both graphs give the same outputs and states. */
export function expectSameGraph(before: Graph, after: Graph, feeds: Feeds): void {
  const want = evaluate(before, feeds, { precision: 'f64' });
  const got = evaluate(after, feeds, { precision: 'f64' });
  const context = () => `${print(before)}\n=>\n${print(after)}`;
  for (const [name, values] of want.outputs) expectEqual(name, got.outputs.get(name), values, context);
  for (const [name, data] of want.states) {
    const other = got.states.get(name);
    if (other !== undefined && data.some((x, i) => Math.abs(x - (other[i] ?? NaN)) > 1e-10))
      throw new Error(`the state ${name} differs\n${context()}`);
  }
}
