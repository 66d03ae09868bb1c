// One exported graph in ONNX Runtime's process, called as a program on a device is called.
import type { OnnxModel, Port } from '../../../compiler/export/onnx-model.ts';
import { evaluateSize, type SizeSymbol } from '../../../dsl/axis/axis.ts';
import { OpabiniaError } from '../../../dsl/error.ts';
import { toArray } from '../../../dsl/graph/elements.ts';
import type { Graph } from '../../../dsl/graph/graph.ts';
import { sortedSymbols } from '../../../dsl/graph/symbols.ts';
import type { OnnxSession } from '../../../runtime/onnx/onnx-runtime.ts';
import { wireTypes, type KeptState, type WireTensor } from '../../../runtime/onnx/wire.ts';
import { checkInputs, named, type Inputs, type InputTensor } from '../../../runtime/program/inputs.ts';
import type { Numbers } from '../../../runtime/program/numbers.ts';
import type { Output, RunOptions } from '../../../runtime/program/program.ts';
import type { Runnable } from '../engine.ts';
import { inputTensors } from '../interpreter.ts';

export interface CpuProgramParts {
  readonly graph: Graph;
  readonly model: OnnxModel;
  readonly session: OnnxSession;
  /** The name under which the process keeps a state. */
  readonly keyOf: (state: Port) => string;
  readonly disposed: () => void;
}

export class CpuProgram implements Runnable {
  readonly symbols: readonly SizeSymbol[];
  readonly #parts: CpuProgramParts;
  readonly #inputs: readonly InputTensor[];
  readonly #states: readonly KeptState[];
  readonly #outputs: readonly Port[];
  #disposed = false;

  constructor(parts: CpuProgramParts) {
    const { graph, model, keyOf } = parts;
    this.#parts = parts;
    this.symbols = sortedSymbols(graph, 'run');
    this.#inputs = inputTensors(graph);
    const isState = ({ kind }: Port): boolean => kind === 'state';
    const states = new Map([...model.inputs, ...model.outputs].filter(isState).map((port) => [port.name, port]));
    this.#states = [...states.values()].map((port) => ({
      key: keyOf(port),
      type: wireTypes[port.dtype],
      dims: sizesOf(port, new Map()),
      input: model.inputs.find((input) => isState(input) && input.name === port.name)?.tensor,
      output: model.outputs.find((output) => isState(output) && output.name === port.name)?.tensor,
    }));
    this.#outputs = model.outputs.filter((port) => !isState(port));
  }

  /** Throws `OpabiniaError`: before anything is computed for inputs that are none of this program's, with ONNX Runtime's words where it fails. */
  async run(inputs: Inputs, options: RunOptions = {}): Promise<Record<string, Output>> {
    if (this.#disposed) throw new OpabiniaError('the program was disposed of', { op: 'run' });
    const { symbols, given } = checkInputs(this.#inputs, this.symbols, inputs, options.symbols);
    const values = new Map(given.map(({ tensor, data }) => [tensor.name, data]));
    const { model, session } = this.#parts;
    const feeds = new Map(
      model.inputs
        .filter(({ kind }) => kind !== 'state')
        .map((port): [string, WireTensor] => [
          port.tensor,
          {
            type: wireTypes[port.dtype],
            dims: sizesOf(port, symbols),
            data: wireData(port.kind === 'symbol' ? [symbols.get(port.name) ?? NaN] : (values.get(port.name) ?? [])),
          },
        ]),
    );
    const wanted = options.outputs?.map((name) => named(name, this.#outputs, 'output')) ?? this.#outputs;
    const results = await session.run({
      feeds,
      states: this.#states,
      outputs: wanted.map(({ tensor }) => tensor),
    });
    return Object.fromEntries(wanted.map((port) => [port.name, outputOf(port, results.get(port.tensor))]));
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#parts.disposed();
  }
}

function sizesOf({ axes }: Port, symbols: ReadonlyMap<string, number>): readonly number[] {
  return axes.map(({ size }) => evaluateSize(size, symbols));
}

function wireData(data: Numbers): WireTensor['data'] {
  return data instanceof Float32Array ? data : Float64Array.from(data);
}

function outputOf(
  port: Port,
  result: { readonly dims: readonly number[]; readonly data: Float64Array } | undefined,
): Output {
  if (result?.dims.length !== port.axes.length || port.dtype === 'i64')
    throw new OpabiniaError(`the output '${port.name}' came back with ${result?.dims.length ?? 'no'} axes`, {
      op: 'ONNX Runtime',
    });
  return {
    data: toArray(result.data, port.dtype),
    axes: port.axes.map(({ name }, i) => ({ name, size: result.dims[i] ?? 0 })),
    dtype: port.dtype,
  };
}
