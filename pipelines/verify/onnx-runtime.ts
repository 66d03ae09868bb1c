// ONNX Runtime (its CPU provider) in a child process, and our graphs on it: the judge that nobody here wrote.
import { sizeProduct } from '../../dsl/axis/axes.ts';
import { fork, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { exportOnnx } from '../../compiler/export/onnx.ts';
import { type OnnxModel, type Port, type Weights } from '../../compiler/export/onnx-model.ts';
import { evaluateSize, type SymbolValues } from '../../dsl/axis/axis.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import { siblingModule } from '../../runtime/files/package-files.ts';
import type { Backend } from './backends.ts';

export interface WireTensor {
  readonly type: 'float32' | 'float16' | 'int32' | 'uint32' | 'int64' | 'bool';
  readonly dims: readonly number[];
  readonly data: Float64Array;
}

export type Request =
  | { readonly id: number; readonly kind: 'open'; readonly session: number; readonly model: string | Uint8Array }
  | {
      readonly id: number;
      readonly kind: 'run';
      readonly session: number;
      readonly feeds: ReadonlyMap<string, WireTensor>;
    }
  | { readonly id: number; readonly kind: 'close'; readonly session: number };

export interface Reply {
  readonly id: number;
  readonly result?: ReadonlyMap<string, { readonly dims: readonly number[]; readonly data: Float64Array }> | undefined;
  readonly error?: string;
}

type Asked = Request extends infer R ? (R extends Request ? Omit<R, 'id'> : never) : never;

/** The child process. Throws `OpabiniaError` with ONNX Runtime's own message where a model does not load or run. */
export class OnnxRuntime {
  readonly #child: ChildProcess;
  readonly #waiting = new Map<
    number,
    { readonly resolve: (result: NonNullable<Reply['result']>) => void; readonly reject: (error: Error) => void }
  >();
  #count = 0;
  #sessions = 0;

  constructor() {
    this.#child = fork(fileURLToPath(siblingModule(import.meta.url, 'onnx-worker')), {
      serialization: 'advanced',
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
    });
    let complaint = '';
    this.#child.stderr?.on('data', (text: Buffer) => {
      complaint = (complaint + text.toString()).slice(-2000);
    });
    this.#child.on('message', (reply: Reply) => {
      const waiting = this.#waiting.get(reply.id);
      this.#waiting.delete(reply.id);
      if (reply.result === undefined)
        waiting?.reject(new OpabiniaError(reply.error ?? 'no answer', { op: 'ONNX Runtime' }));
      else waiting?.resolve(reply.result);
    });
    this.#child.on('exit', (code, signal) => {
      const missing = complaint.includes('onnxruntime-node') && complaint.includes('ERR_MODULE_NOT_FOUND');
      const error = new OpabiniaError(
        missing
          ? 'onnxruntime-node is not installed'
          : `the process ended (${signal ?? code ?? 'unknown'})${complaint === '' ? '' : `:\n${complaint}`}`,
        { op: 'ONNX Runtime', advice: missing ? 'npm i -D onnxruntime-node' : undefined },
      );
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    });
  }

  #ask(request: Asked): Promise<NonNullable<Reply['result']>> {
    return new Promise((resolve, reject) => {
      if (!this.#child.connected) {
        reject(new OpabiniaError('the process is gone', { op: 'ONNX Runtime' }));
        return;
      }
      const id = this.#count++;
      this.#waiting.set(id, { resolve, reject });
      this.#child.send({ ...request, id } satisfies Request);
    });
  }

  /** A session on a model file, or on the bytes of one without external data. */
  async open(model: string | Uint8Array): Promise<OnnxSession> {
    const session = this.#sessions++;
    await this.#ask({ kind: 'open', session, model });
    return {
      run: (feeds) => this.#ask({ kind: 'run', session, feeds }),
      close: async () => {
        await this.#ask({ kind: 'close', session });
      },
    };
  }

  close(): void {
    this.#child.kill();
  }
}

export interface OnnxSession {
  run(feeds: ReadonlyMap<string, WireTensor>): Promise<NonNullable<Reply['result']>>;
  close(): Promise<void>;
}

const wireTypes = {
  f32: 'float32',
  f16: 'float16',
  bf16: 'float32',
  i32: 'int32',
  u32: 'uint32',
  bool: 'bool',
  i64: 'int64',
} as const satisfies Record<Port['dtype'], WireTensor['type']>;

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
  const results = await session.run(wire);
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
