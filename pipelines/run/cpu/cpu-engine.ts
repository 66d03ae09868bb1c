// Makes programs of graphs for ONNX Runtime: exports them, writes their weights, opens sessions.
import { join } from 'node:path';
import { exportOnnx } from '../../../compiler/export/onnx.ts';
import type { Port, StoredWeight } from '../../../compiler/export/onnx-model.ts';
import { sizeBound } from '../../../dsl/axis/axis.ts';
import { OpabiniaError } from '../../../dsl/error.ts';
import { dtypeBytes } from '../../../dsl/graph/elements.ts';
import { roleOf, type Graph, type Node } from '../../../dsl/graph/graph.ts';
import { order } from '../../../dsl/graph/walk.ts';
import { nameOf, packedPath } from '../../../dsl/ops/source.ts';
import type { Source } from '../../../runtime/checkpoint/joined-source.ts';
import { writeFileAtomic } from '../../../runtime/files/atomic-file.ts';
import type { OnnxRuntime } from '../../../runtime/onnx/onnx-runtime.ts';
import {
  checkMemory,
  type MemoryItem,
  type MemoryLimit,
  type MemoryPlan,
  type Shrinkable,
} from '../../../runtime/program/memory-check.ts';
import type { Progress } from '../../../runtime/program/upload.ts';
import type { Engine, PrepareOptions, Prepared, Runnable } from '../engine.ts';
import { CpuProgram } from './cpu-program.ts';
import { WeightsFile } from './weights-file.ts';
import { plural } from '../../../dsl/text/plural.ts';

export interface CpuEngineParts {
  readonly runtime: OnnxRuntime;
  /** Where models and weights are written, each file under a name with this in front of it. */
  readonly folder: string;
  readonly name: string;
  readonly limit: () => MemoryLimit;
}

export class CpuEngine implements Engine {
  readonly ahead = 1;
  readonly #parts: CpuEngineParts;
  readonly #source: Source;
  readonly #graphs = new WeakMap<Prepared, Graph>();
  readonly #places = new Map<string, StoredWeight>();
  readonly #states = new Set<string>();
  #files = 0;
  #programs = 0;

  /** Throws `OpabiniaError` for parameters of another dtype than f32. */
  constructor(parts: CpuEngineParts, source: Source) {
    if (source.dtype !== 'f32')
      throw new OpabiniaError(
        `the model is opened as ${source.dtype}, and ONNX Runtime's CPU provider computes in f32`,
        {
          op: 'load',
          advice: 'open it as f32',
        },
      );
    this.#parts = parts;
    this.#source = source;
  }

  get limit(): MemoryLimit {
    return this.#parts.limit();
  }

  /** Nothing is compiled late. */
  compileAhead(): () => void {
    return () => undefined;
  }

  /** Throws `OpabiniaError` where a parameter is read packed. */
  prepare(name: string, make: () => Graph, { note }: PrepareOptions = {}): Prepared {
    note?.(`tracing ${name} for ${this.limit.device}`);
    const graph = make();
    const nodes = order(graph);
    const packed = nodes.map(packedPath).find((path) => path !== undefined);
    if (packed !== undefined)
      throw new OpabiniaError(
        `a quantized weight is read packed, which ONNX Runtime's CPU provider has no kernels for`,
        {
          op: 'load',
          path: packed,
          advice: "open the model with weights: 'floats'",
        },
      );
    const prepared: Prepared = {
      name,
      contents: `${plural(nodes.length, 'node')}`,
      load: async (progress) => this.#load(name, graph, progress),
    };
    this.#graphs.set(prepared, graph);
    return prepared;
  }

  check(programs: readonly Prepared[], model: Shrinkable): MemoryPlan {
    const all = programs.flatMap((program) => {
      const graph = this.#graphs.get(program);
      if (graph === undefined) throw new TypeError(`${program.name} was prepared by another engine`);
      return order(graph);
    });
    const bytes = (role: 'param' | 'state'): number =>
      [
        ...new Map(all.filter((node) => roleOf(node) === role).map((node) => [nameOf(node), bytesOf(node)])).values(),
      ].reduce((sum, each) => sum + each, 0);
    const items: readonly MemoryItem[] = [
      { name: 'weights', kind: 'weights', bytes: bytes('param') },
      // What a run reads and what it writes are two.
      { name: 'key-value cache and images, twice', kind: 'cache', bytes: 2 * bytes('state') },
    ];
    const running = items.reduce((sum, item) => sum + item.bytes, 0);
    const memory = { items: items.toSorted((a, b) => b.bytes - a.bytes), running, peak: running };
    // In f16 it does not compute.
    checkMemory(memory, this.limit, { ...model, dtype: undefined });
    return memory;
  }

  async #load(name: string, graph: Graph, progress?: Progress): Promise<Runnable> {
    const { runtime, folder } = this.#parts;
    const file = `${this.#parts.name}-${this.#files++}`;
    const parameters = order(graph).filter((node) => roleOf(node) === 'param').length;
    let done = 0;
    const weights = new WeightsFile({ folder, name: `${file}.weights` }, this.#source, this.#places, (path) =>
      // One that is read in two orders is told of twice.
      progress?.(Math.min(++done, parameters), parameters, path),
    );
    try {
      const model = exportOnnx(graph, {
        name,
        weights: {
          read: this.#source.read.bind(this.#source),
          placeInOrder: (path, shape, axes) => weights.place(path, shape, axes),
        },
      });
      for (const [key, place] of weights.commit()) this.#places.set(key, place);
      const path = join(folder, `${file}.onnx`);
      writeFileAtomic(path, model.bytes, { op: 'load' });
      const session = await runtime.open({ model: path, threads: 'all', weightsInPlace: true });
      const keys = new Set([...model.inputs, ...model.outputs].filter(({ kind }) => kind === 'state').map(this.#keyOf));
      for (const key of keys) this.#states.add(key);
      this.#programs++;
      const disposed = (): void => {
        // What a process that has ended does not answer needs nobody.
        session.close().catch(() => undefined);
        if (--this.#programs > 0) return;
        runtime.forget([...this.#states]).catch(() => undefined);
        this.#states.clear();
      };
      return new CpuProgram({ graph, model, session, keyOf: this.#keyOf, disposed });
    } finally {
      weights.abort();
    }
  }

  readonly #keyOf = ({ name, dtype, axes }: Port): string =>
    `${this.#parts.name} ${name} ${dtype} ${axes.map(({ size }) => sizeBound(size)).join()}`;
}

function bytesOf({ type: { axes, dtype } }: Node): number {
  return axes.reduce((product, { size }) => product * sizeBound(size), dtypeBytes(dtype));
}
