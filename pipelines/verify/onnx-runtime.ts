// Our graphs on ONNX Runtime (its CPU provider): the judge that nobody here wrote.
import { sizeProduct } from '../../dsl/axis/axes.ts';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { exportOnnx } from '../../compiler/export/onnx.ts';
import type { OnnxModel, Weights } from '../../compiler/export/onnx-model.ts';
import { evaluateSize, type SymbolValues } from '../../dsl/axis/axis.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import { OnnxRuntime, type OnnxSession } from '../../runtime/onnx/onnx-runtime.ts';
import { wireTypes, type WireTensor } from '../../runtime/onnx/wire.ts';
import type { Backend } from './backend.ts';

export interface OnnxFeeds {
  readonly inputs: ReadonlyMap<string, ArrayLike<number>>;
  readonly states?: ReadonlyMap<string, ArrayLike<number>> | undefined;
  readonly symbols?: SymbolValues | undefined;
}

/** Runs a session of an exported model by the names of our graph; states that are absent start as zeros. */
export async function runExported(
  session: OnnxSession,
  model: OnnxModel,
  feeds: OnnxFeeds,
): Promise<{ readonly outputs: Map<string, Float64Array>; readonly states: Map<string, Float64Array> }> {
  const symbols = feeds.symbols ?? new Map<string, number>();
  const wire = new Map(
    model.inputs.map((port): [string, WireTensor] => {
      const dims = port.axes.map((axis) => evaluateSize(axis.size, symbols));
      const count = sizeProduct(dims);
      const given =
        port.kind === 'symbol'
          ? [symbols.get(port.name) ?? NaN]
          : port.kind === 'state'
            ? (feeds.states?.get(port.name) ?? new Float64Array(count))
            : feeds.inputs.get(port.name);
      if (given?.length !== count)
        throw new OpabiniaError(
          `the ${port.kind} '${port.name}' needs ${count} values, got ${given?.length ?? 'none'}`,
          { op: 'ONNX Runtime' },
        );
      return [port.tensor, { type: wireTypes[port.dtype], dims, data: Float64Array.from(given) }];
    }),
  );
  const results = await session.run({ feeds: wire });
  const [outputs, states] = [new Map<string, Float64Array>(), new Map<string, Float64Array>()];
  for (const port of model.outputs) {
    const result = results.get(port.tensor);
    const dims = port.axes.map((axis) => evaluateSize(axis.size, symbols));
    if (result?.dims.join() !== dims.join())
      throw new OpabiniaError(
        `'${port.name}' has the shape [${result?.dims.join(' ') ?? ''}], not [${dims.join(' ')}]`,
        { op: 'ONNX Runtime' },
      );
    (port.kind === 'state' ? states : outputs).set(port.name, result.data);
  }
  return { outputs, states };
}

/** `verify --backend onnx`: every graph is exported, loaded by ONNX Runtime and run on its CPU provider. */
export function onnxBackend(options: { readonly plain?: boolean } = {}): Backend {
  const runtime = new OnnxRuntime();
  const folder = mkdtempSync(join(tmpdir(), 'opabinia-onnx-'));
  let count = 0;
  const openGraph = async (
    graph: Graph,
    weights: Weights,
  ): Promise<{ readonly model: OnnxModel; readonly session: OnnxSession }> => {
    const model = exportOnnx(graph, { weights, plain: options.plain ?? false });
    const path = join(folder, `${count++}.onnx`);
    writeFileSync(path, model.bytes);
    return { model, session: await runtime.open(path) };
  };
  return {
    name: `ONNX Runtime, CPU${options.plain === true ? ', plain operators' : ''}`,
    run: async (graph, source, inputs) => {
      if (graph.outputs.size === 0) return new Map();
      const { model, session } = await openGraph(graph, source);
      const { outputs } = await runExported(session, model, { inputs });
      await session.close();
      return outputs;
    },
    open: async (graph, source) => {
      const { model, session } = await openGraph(graph, source);
      let states: ReadonlyMap<string, Float64Array> = new Map();
      return {
        step: async (inputs, symbols) => {
          const result = await runExported(session, model, { inputs, states, symbols });
          ({ states } = result);
          return result.outputs;
        },
        // The process may be ended before it answers.
        close: () => {
          session.close().catch(() => undefined);
        },
      };
    },
    close: () => {
      runtime.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
