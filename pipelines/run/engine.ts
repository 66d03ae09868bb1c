// What makes programs of graphs: compiled for a GPU or exported for ONNX Runtime, whoever runs a model asks an engine and knows no more.
import type { Plan } from '../../compiler/plan.ts';
import { compile } from '../../compiler/compile.ts';
import { steadySums } from '../../compiler/profile.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import type { Source } from '../../runtime/checkpoint/joined-source.ts';
import { compileAhead } from '../../runtime/device/compile-ahead.ts';
import { deviceProfile } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import {
  checkMemory,
  freeOn,
  memoryPlan,
  type MemoryLimit,
  type MemoryPlan,
  type Shrinkable,
} from '../../runtime/program/memory-check.ts';
import { load, type Inputs, type Output, type RunOptions } from '../../runtime/program/program.ts';
import { SharedBuffers } from '../../runtime/program/shared-buffers.ts';
import type { Progress } from '../../runtime/program/upload.ts';
import { plural } from '../../dsl/text/plural.ts';

/** A loaded program, wherever it runs: `Program` is one. */
export interface Runnable {
  readonly symbols: readonly { readonly name: string }[];
  /** Inputs by name to outputs by name; states keep what the run wrote to them. */
  run(inputs: Inputs, options?: RunOptions): Promise<Record<string, Output>>;
  dispose(): void;
}

/** A program that is not loaded yet. */
export interface Prepared {
  readonly name: string;
  /** How much there is of it, in words. */
  readonly contents: string;
  /** Nothing stays loaded when it throws. */
  readonly load: (progress?: Progress) => Promise<Runnable>;
}

export interface PrepareOptions {
  /** Sums are made in an order that does not depend on how many rows are computed beside a row. */
  readonly steady?: boolean | undefined;
  /** Runs of it that may be under way at once, as `ahead` of the engine allows; by default one. */
  readonly atOnce?: number | undefined;
  readonly note?: ((what: string) => void) | undefined;
}

/** Programs made by one engine read one source of parameters and share weights and states by name. */
export interface Engine {
  /** What may be allocated now. */
  readonly limit: MemoryLimit;
  /**
   * Decode steps that should be under way at once: a GPU then does not wait while a token is read and the next step encoded. A software
   * device computes on the processor that would wait.
   */
  readonly ahead: number;
  prepare(name: string, graph: () => Graph, options?: PrepareOptions): Prepared;
  /** Begins to compile programs beside their loading, in the order in which they will run, where a driver compiles late; the result ends it. */
  compileAhead(programs: readonly Prepared[]): () => void;
  /** What programs take together, on paper. Throws `OutOfMemoryError` where it is too much. */
  check(programs: readonly Prepared[], model: Shrinkable): MemoryPlan;
}

/** What runs on the CPU without Dawn: `openCpu` opens one. */
export interface CpuPlace {
  readonly facts: { readonly name: string; readonly software: true };
  /** Bytes of memory it takes now, and the most it took. */
  readonly memory: { readonly now: number; readonly peak: number };
  engine(source: Source): Engine;
  close(): void;
}

/** Where a model can be loaded. */
export type Place = Device | CpuPlace;

export function engineOn(place: Place, source: Source): Engine {
  return 'engine' in place ? place.engine(source) : new DeviceEngine(place, source);
}

class DeviceEngine implements Engine {
  readonly #device: Device;
  readonly #source: Source;
  readonly #shared = new SharedBuffers();
  readonly #plans = new WeakMap<Prepared, Plan>();

  constructor(device: Device, source: Source) {
    this.#device = device;
    this.#source = source;
  }

  get limit(): MemoryLimit {
    return freeOn(this.#device);
  }

  get ahead(): number {
    return deviceProfile(this.#device).software ? 1 : 8;
  }

  prepare(name: string, graph: () => Graph, { steady = false, atOnce, note }: PrepareOptions = {}): Prepared {
    const profile = deviceProfile(this.#device);
    note?.(`compiling ${name} for ${profile.name}`);
    const plan = compile(graph(), steady ? steadySums(profile) : profile);
    const prepared: Prepared = {
      name,
      contents: `${plural(plan.kernels.length, 'kernel')}`,
      load: async (progress) => load(plan, this.#device, this.#source, { shared: this.#shared, progress, atOnce }),
    };
    this.#plans.set(prepared, plan);
    return prepared;
  }

  compileAhead(programs: readonly Prepared[]): () => void {
    const end = new AbortController();
    const plans = programs.flatMap((program) => this.#plans.get(program) ?? []);
    void compileAhead(this.#device, plans, end.signal);
    return () => end.abort();
  }

  check(programs: readonly Prepared[], model: Shrinkable): MemoryPlan {
    const named = programs.map((program) => {
      const plan = this.#plans.get(program);
      if (plan === undefined) throw new TypeError(`${program.name} was prepared by another engine`);
      return { name: program.name, plan };
    });
    const memory = memoryPlan(named);
    checkMemory(memory, this.limit, model);
    return memory;
  }
}
