// How far a correct kernel may be from the exact value, element by element: running error analysis over the graph, in double precision.
// (Wilkinson; Higham 2002, Accuracy and Stability of Numerical Algorithms, §3.3.) No tolerance is chosen: every term has a source.
import { evaluateSize, type SymbolValues } from '../../dsl/axis/axis.ts';
import type { Graph, Node, Update } from '../../dsl/graph/graph.ts';
import { order } from '../../dsl/graph/walk.ts';
import { isFloat, type Attrs, type DType, type ReduceOp, type MapOp } from '../../dsl/graph/op.ts';
import { roles } from '../../dsl/ops/contract.ts';
import { sum } from '../../dsl/ops/reduce.ts';
import { evaluateContract } from '../../runtime/reference/contract.ts';
import { evaluateReduce, evaluateGather, evaluateJoin, evaluateMap } from '../../runtime/reference/element.ts';
import { evaluateScatter } from '../../runtime/reference/scatter-sort.ts';
import { elementCount, knownAxes, stridesOf } from '../../runtime/reference/values.ts';
import { evaluateView } from '../../runtime/reference/view.ts';
import { evaluateNodes, type Feeds, type Values } from '../../runtime/reference/reference.ts';
import { nameOf } from '../../dsl/ops/source.ts';
import type { Bounded } from './bounded.ts';
import { errorOfRanks } from './near-ranks.ts';
import { errorOfTies, tiny } from './near-ties.ts';

export interface BoundedResult {
  readonly outputs: ReadonlyMap<string, Bounded>;
  /** Every state after the run, at the bound of its sizes. */
  readonly states: ReadonlyMap<string, Bounded>;
}

export interface BoundedFeeds extends Feeds {
  /** How far the device's states may be from those in `states`. */
  readonly stateErrors?: ReadonlyMap<string, Float64Array> | undefined;
}

/** Unit roundoff of f32: sums and products accumulate in f32, whatever the storage. */
const u = 2 ** -24;
const largest: Record<DType, number> = {
  f32: 3.4028234663852886e38,
  f16: 65504,
  bf16: 3.3895313892515355e38,
  i32: Infinity,
  u32: Infinity,
  bool: Infinity,
};

/** Runs a graph exactly and bounds what a device may make of it. */
export function evaluateWithError(graph: Graph, feeds: BoundedFeeds): BoundedResult {
  const symbols: SymbolValues = feeds.symbols ?? new Map();
  const nodes = order(graph);
  const values = evaluateNodes(nodes, feeds, { precision: 'f64' });
  const bounded = new Map<Node, Bounded>();
  const of = (node: Node): Bounded => bounded.get(node) ?? missing(node);
  for (const node of nodes) {
    const own = values.get(node) ?? missing(node);
    const error = errorOf(node, own, of, feeds);
    for (let i = 0; i < error.length; i++) error[i] = settled(error[i] ?? NaN, own.data[i] ?? NaN, node.type.dtype);
    bounded.set(node, { ...own, error });
  }
  const states = new Map(
    nodes
      .filter((node) => node.op.name === 'state')
      .map((node): [string, Bounded] => [
        nameOf(node),
        { ...of(node), data: of(node).data.slice(), error: of(node).error.slice() },
      ]),
  );
  for (const update of graph.updates) write(states.get(nameOf(update.state)), update, of(update.value), symbols);
  return { outputs: new Map([...graph.outputs].map(([name, node]) => [name, of(node)])), states };
}

/** The larger bound of two graphs with the same exact values: one was made of the other by rewriting. */
export function larger(a: BoundedResult, b: BoundedResult): BoundedResult {
  const merge = (x: ReadonlyMap<string, Bounded>, y: ReadonlyMap<string, Bounded>) =>
    new Map(
      [...x].map(([name, value]): [string, Bounded] => {
        const other = y.get(name)?.error;
        return [name, { ...value, error: value.error.map((e, i) => Math.max(e, other?.[i] ?? 0)) }];
      }),
    );
  return { outputs: merge(a.outputs, b.outputs), states: merge(a.states, b.states) };
}

/** True where a device's number is a correct result. */
export function isWithin(got: number, want: number, error: number): boolean {
  if (error === Infinity) return true;
  return apart(got, want) <= error;
}

// ---- by kind ----------------------------------------------------------------------------------------------------

function errorOf(node: Node, y: Values, of: (node: Node) => Bounded, feeds: BoundedFeeds): Float64Array {
  const { op, attrs, type } = node;
  const symbols: SymbolValues = feeds.symbols ?? new Map();
  const operands = node.inputs.map(of);
  const [a, b] = operands;
  switch (op.kind) {
    case 'source':
      return sourceError(node, y, feeds);
    case 'map': {
      const own = (x: readonly Bounded[]): Bounded => ({
        axes: y.axes,
        dtype: type.dtype,
        data: evaluateMap(op, x, attrs, y.axes, type.dtype),
        error: mapError(op, attrs, type.dtype, x, y),
      });
      const error = errorOfTies(node, y, of, own) ?? mapError(op, attrs, type.dtype, operands, y);
      return op.rounding === 0 ? error : rounded(error, y, node);
    }
    case 'reduce':
      return rounded(reduceError(op, a ?? missing(node), y), y, node);
    case 'view': {
      const view = { op, attrs, of: node.inputs[0]?.type ?? type, out: y.axes, symbols };
      const constants = (x: number): number => storing(x, type.dtype);
      return evaluateView({ ...view, round: constants }, errors(a ?? missing(node))).slice();
    }
    case 'join':
      return evaluateJoin(operands.map(errors), op.read(attrs).axis, y.axes);
    case 'gather':
      return gatherError(a ?? missing(node), b ?? missing(node), op.read(attrs).axis, y);
    case 'scatter':
      return rounded(scatterError(a ?? missing(node), b ?? missing(node), op.read(attrs).axis, y), y, node);
    case 'sort':
      return errorOfRanks(a ?? missing(node), y, op.read(attrs));
    case 'contract':
      return rounded(contractError(node, a ?? missing(node), b ?? missing(node), y), y, node);
    default:
      return op satisfies never;
  }
}

/** Numbers that the dtype cannot hold are rounded when they are stored; a constant may also stand in a kernel as an f32. */
function storing(x: number, dtype: DType): number {
  if (!Number.isFinite(x)) return 0;
  if (dtype === 'f32') return Math.abs(Math.fround(x) - x);
  if (dtype === 'f16') return halfRounding(x, 0) + Math.abs(Math.fround(x) - x);
  return 0;
}

/** WGSL leaves open to which of its two neighbours a number is rounded (§15.7.6, Floating Point Conversion); drivers do both. */
function halfRounding(x: number, error: number): number {
  return error === 0 && Math.f16round(x) === x ? 0 : 2 ** -10 * (Math.abs(x) + error) + 2 ** -24;
}

function sourceError(node: Node, y: Values, feeds: BoundedFeeds): Float64Array {
  const known = node.op.name === 'state' ? feeds.stateErrors?.get(nameOf(node)) : undefined;
  return known?.slice() ?? y.data.map((x) => storing(x, node.type.dtype));
}

/** |f(x + e) − f(x)| over the corners of the box of operands, with the accuracy of f itself at each. */
function mapError(op: MapOp, attrs: Attrs, dtype: DType, operands: readonly Bounded[], y: Values): Float64Array {
  const exact = !isFloat(dtype);
  const count = operands.length;
  const accuracy = (value: number, x: readonly number[]): number => {
    const own = exact || !Number.isFinite(value) ? 0 : op.accuracy(value, x);
    return own === 0 ? 0 : own + tiny; // what is computed on the way may be subnormal
  };
  const x = operands.map(() => 0);
  const corner = operands.map(() => 0);
  const flushes = operands.map((operand) => operand.dtype === 'f32');
  const at = (all: readonly number[]): number => {
    let inexact = false;
    for (let k = 0; k < count; k++) {
      x[k] = all[k] ?? NaN;
      inexact ||= radius(all, k) > 0;
    }
    const value = op.eval(x, dtype, attrs);
    let worst = accuracy(value, x);
    if (!inexact) return worst;
    // What may be equal somewhere in the box need not be so in a corner.
    if (
      (op.name === 'eq' || op.name === 'ne') &&
      Math.abs((x[0] ?? NaN) - (x[1] ?? NaN)) <= radius(all, 0) + radius(all, 1)
    )
      return 1;
    // A quotient whose divisor may be 0 may be anything.
    if ((op.name === 'div' || op.name === 'mod') && !exact && Math.abs(x[1] ?? 0) <= radius(all, 1)) return Infinity;
    for (let way = 0; way < 3 ** count; way++) {
      for (let k = 0, rest = way; k < count; k++, rest = Math.floor(rest / 3))
        corner[k] = (x[k] ?? NaN) + ((rest % 3) - 1) * radius(all, k);
      const moved = op.eval(corner, dtype, attrs);
      worst = Math.max(worst, apart(moved, value) + accuracy(moved, corner));
    }
    return worst;
  };
  function radius(all: readonly number[], k: number): number {
    const size = Math.abs(all[k] ?? NaN);
    const error = all[count + k] ?? 0;
    return flushes[k] === true && size > 0 && size < tiny ? Math.max(error, tiny) : error;
  }
  const pairs = [...operands, ...operands.map(errors)];
  return evaluateMap({ ...op, eval: at }, pairs, attrs, y.axes, dtype);
}

function reduceError(op: ReduceOp, x: Bounded, y: Values): Float64Array {
  if (op.rounding === 0) return evaluateReduce({ ...op, combine: Math.max, identity: 0 }, errors(x), y.axes);
  const carried = evaluateReduce(sum, errors(x), y.axes);
  if (!isFloat(x.dtype)) return carried;
  const sizes = evaluateReduce(sum, { ...x, data: x.data.map(Math.abs) }, y.axes);
  const n = y.data.length === 0 ? 0 : x.data.length / y.data.length;
  const safe = isExact(x) && n * largestIn(x) <= largest.f32;
  return carried.map((e, i) => accumulated(n, sizes[i] ?? NaN, e, safe));
}

/** The bound of n additions in any order: 2·n·u·Σ|x|; terms that overflow on the way may give anything. `safe`: no finite one can. */
function accumulated(n: number, size: number, carried: number, safe: boolean): number {
  // A term is infinite or not a number, and so is the exact result.
  if (!Number.isFinite(size)) return safe ? 0 : Infinity;
  return size + carried > largest.f32 ? Infinity : carried + 2 * n * u * size + n * tiny;
}

function contractError(node: Node, a: Bounded, b: Bounded, y: Values): Float64Array {
  const [left, right] = node.inputs;
  if (left === undefined || right === undefined) return missing(node);
  const parts = roles(left.type, right.type, node.type);
  const product = (x: Float64Array, z: Float64Array) =>
    evaluateContract({ ...a, data: x }, { ...b, data: z }, parts, y.axes, 'f32');
  const [sizeA, sizeB] = [a.data.map(Math.abs), b.data.map(Math.abs)];
  const fromA = product(
    a.error,
    sizeB.map((x, i) => x + (b.error[i] ?? 0)),
  );
  const fromB = product(sizeA, b.error);
  const sizes = product(sizeA, sizeB);
  const n = parts.sum.reduce((count, axis) => count * (a.axes.find((known) => known.name === axis.name)?.size ?? 1), 1);
  const exact = isExact(a) && isExact(b);
  const safe = exact && n * largestIn(a) * largestIn(b) <= largest.f32;
  // An infinity times what a device may take for 0 is not a number.
  const flags = (x: Bounded, is: (value: number) => boolean): Float64Array => x.data.map((value) => Number(is(value)));
  const isInfinite = (value: number): boolean => Math.abs(value) === Infinity;
  const isFlushed = (x: Bounded) => flags(x, (value) => x.dtype === 'f32' && value !== 0 && Math.abs(value) < tiny);
  const [openA, openB] = [product(flags(a, isInfinite), isFlushed(b)), product(isFlushed(a), flags(b, isInfinite))];
  return sizes.map((size, i) =>
    (openA[i] ?? 0) + (openB[i] ?? 0) > 0
      ? Infinity
      : accumulated(n, size, exact ? 0 : (fromA[i] ?? NaN) + (fromB[i] ?? NaN), safe),
  );
}

function isExact(x: Bounded): boolean {
  return x.error.every((e) => e === 0);
}

/** The largest finite size. */
function largestIn(x: Bounded): number {
  return x.data.reduce((most, value) => (Number.isFinite(value) ? Math.max(most, Math.abs(value)) : most), 0);
}

function gatherError(x: Bounded, index: Bounded, axis: string, y: Values): Float64Array {
  const error = evaluateGather(errors(x), index, axis, y.axes);
  if (error.length === 0) return error;
  const rest = error.length / index.data.length;
  // A position that may be another reads another row.
  return error.map((e, i) => ((index.error[Math.floor(i / rest)] ?? 0) > 0 ? Infinity : e));
}

/** As a sum of all terms there are: how many an element has depends on the positions. */
function scatterError(updates: Bounded, index: Bounded, axis: string, y: Values): Float64Array {
  if (!isExact(index)) return y.data.map(() => Infinity);
  const add = (data: Float64Array) => evaluateScatter({ ...updates, data }, index, axis, y.axes);
  const carried = add(errors(updates).data);
  if (!isFloat(updates.dtype)) return carried;
  const [sizes, counts] = [add(updates.data.map(Math.abs)), add(updates.data.map(() => 1))];
  const most = counts.reduce((a, b) => Math.max(a, b), 0);
  const safe = isExact(updates) && most * largestIn(updates) <= largest.f32;
  return carried.map((e, i) => accumulated(counts[i] ?? NaN, sizes[i] ?? NaN, e, safe));
}

/** A 16-bit result is rounded where it is stored, and kept in f32 where it stays inside a kernel. Casts round what f32 cannot hold. */
function rounded(error: Float64Array, y: Values, node: Node): Float64Array {
  if (node.type.dtype === 'f32' && node.op.name === 'cast')
    return error.map((e, i) => e + 2 * storing(y.data[i] ?? NaN, 'f32'));
  if (node.type.dtype !== 'f16') return error;
  return error.map((e, i) => {
    const value = y.data[i] ?? NaN;
    return Number.isFinite(value) ? e + halfRounding(value, e) : e;
  });
}

/** A bound that is not a number bounds nothing; a result that may overflow may be anything. */
function settled(error: number, value: number, dtype: DType): number {
  if (Number.isNaN(error)) return Infinity;
  return Number.isFinite(value) && error > 0 && Math.abs(value) + error > largest[dtype] ? Infinity : error;
}

function apart(a: number, b: number): number {
  if (a === b || (Number.isNaN(a) && Number.isNaN(b))) return 0;
  const difference = Math.abs(a - b);
  return Number.isNaN(difference) ? Infinity : difference;
}

function errors(x: Bounded): Values {
  return { axes: x.axes, dtype: 'f32', data: x.error };
}

// ---- states -----------------------------------------------------------------------------------------------------

function write(
  state: Bounded | undefined,
  { state: node, value: from, at }: Update,
  value: Bounded,
  symbols: SymbolValues,
): void {
  if (state === undefined) return missing(from);
  const axes = knownAxes(node.type.axes, symbols);
  const strides = stridesOf(axes);
  const count = elementCount(value.axes);
  for (let i = 0; i < count; i++) {
    let to = 0;
    for (let k = value.axes.length - 1, rest = i; k >= 0; k--) {
      const axis = value.axes[k];
      if (axis === undefined) continue;
      to += ((rest % axis.size) + evaluateSize(at.get(axis.name) ?? 0, symbols)) * (strides.get(axis.name) ?? 0);
      rest = Math.floor(rest / axis.size);
    }
    state.data[to] = value.data[i] ?? NaN;
    state.error[to] = value.error[i] ?? NaN;
  }
}

function missing(node: Node): never {
  throw new TypeError(`${node.op.name} was not evaluated`);
}
