// A graph on the reference interpreter, called as a program on a device is called.
import { roleOf, type Graph } from '../../dsl/graph/graph.ts';
import { toArray } from '../../dsl/graph/elements.ts';
import { order } from '../../dsl/graph/walk.ts';
import { sortedSymbols } from '../../dsl/graph/symbols.ts';
import { sizeBound, type ParamSource } from '../../dsl/index.ts';
import { sizeFormula } from '../../runtime/program/formula.ts';
import { checkInputs, chosen, type Inputs, type InputTensor } from '../../runtime/program/inputs.ts';
import type { Output, RunOptions } from '../../runtime/program/program.ts';
import type { InitialStates } from '../../runtime/program/upload.ts';
import { evaluate, type Precision, type Values } from '../../runtime/reference/reference.ts';
import { requireGraph } from '../../dsl/graph/required.ts';
import { requireParams } from './arguments.ts';
import { nameOf } from '../../dsl/ops/source.ts';

export interface InterpretOptions {
  /** f32: each op's result is rounded to its dtype, as on a device; f64: nothing is rounded. */
  readonly precision?: Precision | undefined;
  /** What states hold at first, as `load` takes them; those that it does not know begin as zeros. */
  readonly states?: InitialStates | undefined;
}

/**
 * The same graph, run by the interpreter: on any machine, slowly, from the definitions of the ops alone. `run` takes and gives what
 * `Program.run` does; states live from run to run. Throws `OpabiniaError` for what is no graph, and for parameters that nothing gives.
 *
 * @example const { y } = await interpret(graph, params).run({ x: [1, 2, 3] });
 */
export function interpret(graph: Graph, params: ParamSource, options: InterpretOptions = {}): Interpreter {
  requireGraph('interpret', graph);
  requireParams('interpret', params, order(graph).filter((node) => roleOf(node) === 'param').length);
  return new Interpreter(graph, params, options);
}

/** What `interpret` gives. Called as a `Program` is; states are kept between runs. */
export class Interpreter {
  readonly graph: Graph;
  readonly #params: ParamSource;
  readonly #precision: Precision;
  readonly #inputs: readonly InputTensor[];
  #states: ReadonlyMap<string, ArrayLike<number>>;

  constructor(graph: Graph, params: ParamSource, { precision = 'f32', states }: InterpretOptions) {
    this.graph = graph;
    this.#params = params;
    this.#precision = precision;
    this.#inputs = inputTensors(graph);
    this.#states = statesOf(graph, states);
  }

  /** One run: inputs by name to outputs by name. Throws `OpabiniaError` before anything is computed. */
  async run(inputs: Inputs, options: RunOptions = {}): Promise<Record<string, Output>> {
    const outputs = [...this.graph.outputs.keys()].map((name) => ({ name }));
    const wanted = chosen(options.outputs, outputs, 'output');
    const { symbols, given } = checkInputs(this.#inputs, sortedSymbols(this.graph, 'run'), inputs, options.symbols);
    const values = new Map(given.map(({ tensor, data }) => [tensor.name, data]));
    const result = evaluate(
      this.graph,
      { inputs: values, states: this.#states, symbols, params: (path, shape) => this.#params.read(path, shape) },
      { precision: this.#precision },
    );
    this.#states = result.states;
    return Object.fromEntries(
      wanted.flatMap(({ name }) => {
        const output = result.outputs.get(name);
        return output === undefined ? [] : [[name, outputOf(output)] as const];
      }),
    );
  }

  /** Sets every state back to zeros, or to what `states` has for it. */
  async reset(states?: InitialStates): Promise<void> {
    this.#states = statesOf(this.graph, states);
  }

  /** There is nothing to give back; so that a program can be put in its place. */
  dispose(): void {
    this.#states = new Map();
  }
}

/** The states that begin with other numbers than zeros. */
function statesOf(graph: Graph, states: InitialStates | undefined): ReadonlyMap<string, ArrayLike<number>> {
  const known = order(graph).filter((node) => roleOf(node) === 'state' && states?.has(nameOf(node)) === true);
  return new Map(
    known.flatMap((node): readonly (readonly [string, ArrayLike<number>])[] => {
      const shape = node.type.axes.map(({ size }) => sizeBound(size));
      const values = states?.read(nameOf(node), shape);
      return values === undefined ? [] : [[nameOf(node), values]];
    }),
  );
}

/** The inputs of a graph as a plan lists them. */
export function inputTensors(graph: Graph): readonly InputTensor[] {
  return order(graph)
    .filter((node) => roleOf(node) === 'input')
    .map((node) => ({
      name: nameOf(node),
      dtype: node.type.dtype,
      axes: node.type.axes.map(({ name, size }) => ({ name, size: sizeFormula(size) })),
    }));
}

function outputOf({ data, axes, dtype }: Values): Output {
  return { data: toArray(data, dtype), axes: axes.map(({ name, size }) => ({ name, size })), dtype };
}
