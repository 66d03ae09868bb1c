// A graph on the reference interpreter, called as a program on a device is called.
import { roleOf, type Graph } from '../../dsl/graph/graph.ts';
import { toArray } from '../../dsl/graph/elements.ts';
import { order } from '../../dsl/graph/walk.ts';
import { sortedSymbols } from '../../dsl/graph/symbols.ts';
import type { ParamSource } from '../../dsl/index.ts';
import { sizeFormula } from '../../runtime/program/formula.ts';
import { checkInputs, chosen, type Inputs, type InputTensor } from '../../runtime/program/inputs.ts';
import type { Output, RunOptions } from '../../runtime/program/program.ts';
import { evaluate, type Precision, type Values } from '../../runtime/reference/reference.ts';
import { requireGraph } from '../../dsl/graph/required.ts';
import { requireParams } from './arguments.ts';
import { nameOf } from '../../dsl/ops/source.ts';

export interface InterpretOptions {
  /** f32: each op's result is rounded to its dtype, as on a device; f64: nothing is rounded. */
  readonly precision?: Precision | undefined;
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
  #states: ReadonlyMap<string, Float64Array> = new Map();

  constructor(graph: Graph, params: ParamSource, { precision = 'f32' }: InterpretOptions) {
    this.graph = graph;
    this.#params = params;
    this.#precision = precision;
    this.#inputs = inputTensors(graph);
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

  /** Sets every state back to zeros. */
  async reset(): Promise<void> {
    this.#states = new Map();
  }

  /** There is nothing to give back; so that a program can be put in its place. */
  dispose(): void {
    this.#states = new Map();
  }
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
