// The judge: runs any graph on the CPU from the op records alone. It imports only dsl, so it shares no bug with the compiler it judges.
import { evaluateSize, printSize, type SymbolValues } from '../../dsl/axis/axis.ts';
import { nearestNames, OpabiniaError } from '../../dsl/error.ts';
import { describe, roleOf, type Graph, type Node, type Update } from '../../dsl/graph/graph.ts';
import { order, orderFrom } from '../../dsl/graph/walk.ts';
import type { SourceOp } from '../../dsl/graph/op.ts';
import { roles } from '../../dsl/ops/contract.ts';
import { symbolsOfNode } from '../../dsl/graph/symbols.ts';
import { evaluateContract } from './contract.ts';
import { evaluateReduce, evaluateGather, evaluateJoin, evaluateMap } from './element.ts';
import { evaluateScatter, evaluateSort } from './scatter-sort.ts';
import {
  elementCount,
  knownAxes,
  roundAll,
  roundNumber,
  stridesOf,
  type KnownAxis,
  type Precision,
  type Values,
} from './values.ts';
import { evaluateView, forEachOuter, type View } from './view.ts';
import { nameOf, extentOf, valuesOf } from '../../dsl/ops/source.ts';
import { requireGraph, requireOptions } from '../../dsl/graph/required.ts';

export type { KnownAxis, Precision, Values } from './values.ts';

/** What one run reads. All values are row-major in the order of the axes in the graph. */
export interface Feeds {
  readonly inputs: ReadonlyMap<string, ArrayLike<number>>;
  readonly params: (path: string, shape: number[]) => ArrayLike<number>;
  /** States that are absent start as zeros. */
  readonly states?: ReadonlyMap<string, ArrayLike<number>> | undefined;
  readonly symbols?: SymbolValues | undefined;
}

export interface Options {
  readonly precision: Precision;
}

export interface Result {
  readonly outputs: Map<string, Values>;
  /** Every state of the graph after the run, updated or not: feed it to the next run. */
  readonly states: Map<string, Float64Array>;
}

/**
 * Runs a graph once. Sums and products accumulate in doubles; with precision `f32` each op's result is rounded to its dtype.
 * The updates read the states as they were before the run. Throws `OpabiniaError` for feeds that do not fit, before anything is computed.
 * @example const { outputs } = evaluate(graph, { inputs, params: params.read }, { precision: 'f64' })
 */
export function evaluate(graph: Graph, feeds: Feeds, options: Options): Result {
  requireGraph('evaluate', graph);
  const call = "evaluate(graph, { inputs, params: params.read }, { precision: 'f64' })";
  requireOptions('evaluate', feeds, call, 'the feeds');
  requireOptions('evaluate', options, call);
  const symbols = feeds.symbols ?? new Map<string, number>();
  const nodes = order(graph);
  for (const update of graph.updates) checkUpdate(update, symbols);
  const stateNodes = nodes.filter((node) => roleOf(node) === 'state');
  const kept = new Set([...graph.outputs.values(), ...stateNodes, ...graph.updates.map((update) => update.value)]);
  const values = run(nodes, kept, feeds, options);
  const states = new Map(
    stateNodes.map((node): [string, Float64Array] => [nameOf(node), new Float64Array(valueOf(values, node).data)]),
  );
  for (const update of graph.updates)
    write(states.get(nameOf(update.state)), update, valueOf(values, update.value), symbols);
  return { outputs: new Map([...graph.outputs].map(([name, node]) => [name, valueOf(values, node)])), states };
}

/** The values of these nodes, for looking inside a graph. */
export function evaluateNodes(nodes: readonly Node[], feeds: Feeds, options: Options): Map<Node, Values> {
  const values = run(orderFrom(nodes), new Set(nodes), feeds, options);
  return new Map(nodes.map((node) => [node, valueOf(values, node)]));
}

function run(nodes: readonly Node[], kept: ReadonlySet<Node>, feeds: Feeds, options: Options): Map<Node, Values> {
  const symbols = feeds.symbols ?? new Map<string, number>();
  for (const node of nodes) checkSymbols(node, symbols);
  // What is missing is refused before anything is computed; a parameter may be large, and is asked for when its turn comes.
  for (const node of nodes) if (roleOf(node) === 'input' || roleOf(node) === 'state') given(node, nodes, feeds);
  const lastUse = new Map<Node, number>();
  nodes.forEach((node, at) => {
    for (const operand of node.inputs) lastUse.set(operand, at);
  });
  const values = new Map<Node, Values>();
  nodes.forEach((node, at) => {
    const axes = knownAxes(node.type.axes, symbols);
    const fed = given(node, nodes, feeds);
    const data =
      fed === undefined
        ? compute(node, axes, values, symbols, options)
        : roundAll(new Float64Array(fed), node.type.dtype, options.precision);
    values.set(node, { axes, dtype: node.type.dtype, data });
    for (const operand of node.inputs) if (lastUse.get(operand) === at && !kept.has(operand)) values.delete(operand);
  });
  return values;
}

function valueOf(values: ReadonlyMap<Node, Values>, node: Node): Values {
  const value = values.get(node);
  if (value === undefined) throw new OpabiniaError(`${describe(node)} was used before it was computed`);
  return value;
}

function compute(
  node: Node,
  axes: readonly KnownAxis[],
  values: ReadonlyMap<Node, Values>,
  symbols: SymbolValues,
  options: Options,
): Float64Array {
  const { op, attrs, type } = node;
  const operands = node.inputs.map((input) => valueOf(values, input));
  const operand = (i: number): Values => operands[i] ?? refuse(node, `operand ${i + 1} is missing`);
  const rounded = (data: Float64Array) => roundAll(data, type.dtype, options.precision);
  switch (op.kind) {
    case 'source':
      return rounded(sourceValues(op, node, axes, symbols));
    case 'map':
      return rounded(evaluateMap(op, operands, attrs, axes, type.dtype));
    case 'reduce':
      return rounded(evaluateReduce(op, operand(0), axes));
    case 'view': {
      const view: View = {
        op,
        attrs,
        of: node.inputs[0]?.type ?? type,
        out: axes,
        symbols,
        round: (x) => roundNumber(x, type.dtype, options.precision),
      };
      return evaluateView(view, operand(0));
    }
    case 'join':
      return evaluateJoin(operands, op.read(attrs).axis, axes);
    case 'gather':
      return evaluateGather(operand(0), operand(1), op.read(attrs).axis, axes);
    case 'scatter':
      return rounded(evaluateScatter(operand(0), operand(1), op.read(attrs).axis, axes));
    case 'sort':
      return evaluateSort(operand(0), op.read(attrs).axis, op.read(attrs).descending, axes);
    case 'contract': {
      const [a, b] = node.inputs;
      if (a === undefined || b === undefined) return refuse(node, 'takes two operands');
      return rounded(evaluateContract(operand(0), operand(1), roles(a.type, b.type, type), axes, type.dtype));
    }
    default:
      return op satisfies never;
  }
}

function refuse(node: Node, what: string, advice?: string): never {
  throw new OpabiniaError(`${what}\n  ${describe(node)}`, {
    op: node.op.name,
    path: node.origin.path,
    place: node.origin.place,
    advice,
  });
}

// ---- sources ----------------------------------------------------------------------------------------------------

/** What is given from outside, an input, a parameter or a state; undefined for what is computed. */
function given(node: Node, nodes: readonly Node[], feeds: Feeds): ArrayLike<number> | undefined {
  const role = roleOf(node);
  if (role !== 'input' && role !== 'param' && role !== 'state') return undefined;
  const axes = knownAxes(node.type.axes, feeds.symbols ?? new Map());
  const count = elementCount(axes);
  const name = nameOf(node);
  const numbers =
    role === 'param'
      ? feeds.params(
          name,
          axes.map((axis) => axis.size),
        )
      : role === 'state'
        ? (feeds.states?.get(name) ?? new Float64Array(count))
        : feeds.inputs.get(name);
  if (numbers === undefined) {
    const wanted = nodes.filter((other) => roleOf(other) === 'input').map(nameOf);
    return refuse(
      node,
      `no values were given for the input '${name}'`,
      `give all of ${wanted.join(', ')}${feeds.inputs.size === 0 ? '' : `; given: ${nearestNames(name, feeds.inputs.keys()).join(', ')}`}`,
    );
  }
  if (numbers.length !== count)
    return refuse(
      node,
      `${role} '${name}' needs ${count} values (${axes.map((axis) => `${axis.name}:${axis.size}`).join(' ')}), got ${numbers.length}`,
    );
  return numbers;
}

function sourceValues(op: SourceOp, node: Node, axes: readonly KnownAxis[], symbols: SymbolValues): Float64Array {
  const count = elementCount(axes);
  switch (op.role) {
    case 'constant': {
      const values = valuesOf(node) ?? refuse(node, 'holds no numbers');
      if (values.length !== count) return refuse(node, `holds ${values.length} numbers for ${count} elements`);
      return new Float64Array(values);
    }
    case 'extent':
      return new Float64Array(count).fill(evaluateSize(extentOf(node) ?? 0, symbols));
    case 'index':
      return Float64Array.from({ length: count }, (_, i) => i);
    case 'input':
    case 'param':
    case 'state':
    case 'loaded':
      return refuse(node, `the interpreter has no values of a source that is ${op.role}`);
    default:
      return op.role satisfies never;
  }
}

// ---- symbols ----------------------------------------------------------------------------------------------------

function checkSymbols(node: Node, symbols: SymbolValues): void {
  for (const symbol of symbolsOfNode(node)) {
    const value = symbols.get(symbol.name);
    const range = `${symbol.least} ≤ ${symbol.name} ≤ ${symbol.bound}`;
    if (value === undefined)
      refuse(
        node,
        `no value was given for the symbol '${symbol.name}'`,
        `give a whole number with ${range} in symbols`,
      );
    if (!Number.isInteger(value) || value < symbol.least || value > symbol.bound)
      refuse(node, `the symbol ${symbol.name} is ${value}, outside ${range}`);
  }
}

// ---- updates ----------------------------------------------------------------------------------------------------

/** Refuses an update whose range does not lie inside its state. */
function checkUpdate({ state, value, at }: Update, symbols: SymbolValues): void {
  const room = knownAxes(state.type.axes, symbols);
  const taken = knownAxes(value.type.axes, symbols);
  const lost = [...at.keys(), ...taken.map((axis) => axis.name)].find(
    (name) => !room.some((axis) => axis.name === name),
  );
  if (lost !== undefined) refuse(state, `the state has no axis '${lost}', which its update names`);
  if (taken.length !== room.length || value.type.dtype !== state.type.dtype)
    refuse(state, `an update needs the axes and dtype of its state, not ${describe(value)}`);
  for (const axis of room) {
    const size = at.get(axis.name) ?? 0;
    const start = evaluateSize(size, symbols);
    const end = start + (taken.find((other) => other.name === axis.name)?.size ?? 0);
    if (start < 0 || end > axis.size)
      refuse(
        state,
        `an update of ${axis.name} ${start}..${end} (at ${printSize(size)}) does not fit axis '${axis.name}' of size ${axis.size}`,
      );
  }
}

/** Writes the value over its range of the state, in place. */
function write(state: Float64Array | undefined, update: Update, value: Values, symbols: SymbolValues): void {
  if (state === undefined) return refuse(update.state, 'an update names what is not a state of the graph');
  const strides = stridesOf(knownAxes(update.state.type.axes, symbols));
  const stride = (name: string) => strides.get(name) ?? 0;
  const base = [...update.at].reduce((sum, [name, size]) => sum + evaluateSize(size, symbols) * stride(name), 0);
  const tables = value.axes.map((axis) => ({
    offset: Int32Array.from({ length: axis.size }, (_, i) => i * stride(axis.name)),
    inside: undefined,
  }));
  let from = 0;
  forEachOuter(tables, base, (to) => {
    state[to] = value.data[from++] ?? NaN;
  });
}
