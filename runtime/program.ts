// Loads a plan into a device and runs it. Everything is made once, by `load`: a run in steady state creates no object on the device.
import { nearestNames, OpabiniaError } from '../dsl/error.ts';
import type { DType } from '../dsl/op.ts';
import type { Formula, Plan, PlanDispatch, PlanTensor } from '../compiler/plan.ts';
import type { Device, DeviceBuffer, DeviceGroup, DeviceKernel, Read, Step } from './device.ts';
import { checkPlan, shrinkAdvice } from './fit.ts';
import { elementCount, evaluateFormula, printPlanAxes, resolveSymbols, type GivenSizes, type Symbols } from './formula.ts';
import type { ProfileRow } from './profile.ts';
import { uploadConstants, uploadParameters, type ParameterValues, type Progress } from './upload.ts';
import { bytesOf, checkCount, fromBytes, isNumbers, refusal, toBytes, type Numbers } from './values.ts';

/** Row-major values; with `sizes` by axis where symbols are to be read off them. */
export type Input = Numbers | { readonly data: Numbers; readonly sizes: Readonly<Record<string, number>> };
export type Inputs = Readonly<Record<string, Input>>;

export interface RunOptions {
  /** Values of symbols that the inputs' sizes do not determine. */
  readonly symbols?: Readonly<Record<string, number>>;
  /** Names of the outputs to read back; default all. */
  readonly outputs?: readonly string[];
}

export interface Output {
  readonly data: ReturnType<typeof fromBytes>;
  /** In this run's sizes, not their bounds. */
  readonly axes: readonly { readonly name: string; readonly size: number }[];
  readonly dtype: DType;
}

export interface LoadOptions {
  readonly progress?: Progress;
  /** Milliseconds a run may take before the device counts as hung. Default: 20 times the plan's estimate, at least 10 s. */
  readonly deadline?: number;
}

interface Prepared {
  readonly dispatch: PlanDispatch;
  readonly group: DeviceGroup;
}

/** A run whose inputs were found good; nothing was written yet. */
interface Call {
  readonly symbols: Symbols;
  readonly writes: readonly { readonly buffer: DeviceBuffer; readonly offset: number; readonly view: ArrayBufferView<ArrayBufferLike> }[];
  readonly outputs: readonly PlanTensor[];
}

/**
 * Puts a plan on a device: checks limits and memory on paper, allocates, compiles, uploads, runs the plan's load-time dispatches.
 * When any of it fails nothing stays allocated. Throws `OverLimitError`, `OutOfMemoryError`, `ValidationError`, `OpabiniaError`.
 */
export async function load(plan: Plan, device: Device, source: ParameterValues, options: LoadOptions = {}): Promise<Program> {
  checkPlan(plan, device.facts);
  const staged = plan.outputs.map((output) => ({ label: `readback of ${output.name}`, bytes: roomOf(output, plan), use: 'readback' as const }));
  const stored = plan.buffers.map(({ name, bytes }) => ({ label: name, bytes: Math.max(4, bytes), use: 'storage' as const }));
  const all = await device.allocate([...stored, ...staged], shrinkAdvice(plan));
  try {
    const buffers = all.slice(0, stored.length);
    const deadline = options.deadline ?? deadlineOf(plan, device);
    const kernels = await device.compile(plan.kernels);
    await uploadConstants(plan, device, buffers);
    await uploadParameters(plan, device, buffers, source, options.progress);
    const once = await prepare(plan.load, kernels, buffers, device);
    await device.run(stepsOf(once, new Map()), [], deadline);
    const steps = await prepare(plan.dispatches, kernels, buffers, device);
    device.free(buffers.filter((_, i) => plan.buffers[i]?.role === 'parameter' && plan.buffers[i]?.transient === true));
    return new Program(plan, device, buffers, all.slice(stored.length), steps, deadline);
  } catch (error) {
    device.free(all);
    throw error;
  }
}

/** A loaded plan. Runs are taken one after the other, in the order of the calls. */
export class Program {
  readonly plan: Plan;
  readonly device: Device;
  readonly #buffers: readonly DeviceBuffer[];
  readonly #staging: readonly DeviceBuffer[];
  readonly #steps: readonly Prepared[];
  readonly #deadline: number;
  #last: Promise<unknown> = Promise.resolve();
  #inFlight = 0;
  #disposed = false;

  constructor(plan: Plan, device: Device, buffers: readonly DeviceBuffer[], staging: readonly DeviceBuffer[], steps: readonly Prepared[], deadline: number) {
    this.plan = plan;
    this.device = device;
    this.#buffers = buffers;
    this.#staging = staging;
    this.#steps = steps;
    this.#deadline = deadline;
  }

  /**
   * One run: inputs by name to outputs by name; states keep what the run wrote to them.
   * Inputs are checked before anything is written. Throws `OpabiniaError`, `DeviceError`.
   */
  async run(inputs: Inputs, options: RunOptions = {}): Promise<Record<string, Output>> {
    const call = this.#check(inputs, options);
    return this.#queued(async () => {
      this.#write(call);
      const reads = call.outputs.map((output) => this.#read(output, call.symbols)).filter((read) => read.bytes > 0);
      const bytes = await this.device.run(stepsOf(this.#steps, call.symbols), reads, this.#deadline);
      let next = 0;
      return Object.fromEntries(call.outputs.map((output) => {
        const elements = elementCount(output.axes, call.symbols);
        const axes = output.axes.map(({ name, size }) => ({ name, size: evaluateFormula(size, call.symbols) }));
        const read = elements === 0 ? new ArrayBuffer(0) : bytes[next++];
        return [output.name, { data: fromBytes(read ?? new ArrayBuffer(0), output.dtype, elements), axes, dtype: output.dtype }];
      }));
    });
  }

  /**
   * Milliseconds of each dispatch, in the plan's order. Counts as a run: states advance. Drivers compile at the first dispatch,
   * so run once before.
   */
  async profile(inputs: Inputs, options: RunOptions = {}): Promise<readonly ProfileRow[]> {
    const call = this.#check(inputs, options);
    return this.#queued(async () => {
      this.#write(call);
      const times = await this.device.time(stepsOf(this.#steps, call.symbols), this.#deadline);
      return this.#steps.map(({ dispatch: { path, label, flops, bytes }, group }, i) => ({ path, label, kernel: group.kernel.name, milliseconds: times[i] ?? 0, flops, bytes }));
    });
  }

  /** The values of a state, at the bound of its sizes. For tests and tools: it allocates. */
  async readState(name: string): Promise<Output> {
    const state = named(name, this.plan.states, 'state');
    const bound: Symbols = new Map(this.plan.symbols.map((symbol) => [symbol.name, symbol.bound]));
    return this.#queued(async () => {
      const bytes = roomOf(state, this.plan);
      const staging = await this.device.allocate([{ label: `readback of ${name}`, bytes, use: 'readback' }]);
      try {
        const reads = staging.map((through) => ({ from: this.#buffer(state.buffer), offset: state.offset, bytes, through }));
        const [read] = await this.device.run([], reads, this.#deadline);
        const axes = state.axes.map((axis) => ({ name: axis.name, size: evaluateFormula(axis.size, bound) }));
        return { data: fromBytes(read ?? new ArrayBuffer(bytes), state.dtype, elementCount(state.axes, bound)), axes, dtype: state.dtype };
      } finally {
        this.device.free(staging);
      }
    });
  }

  /** Sets every state back to zeros. */
  async reset(): Promise<void> {
    await this.#queued(async () => this.device.clear(this.#buffers.filter((_, i) => this.plan.buffers[i]?.role === 'state')));
  }

  /** Gives every byte back. A run still in flight is refused. A second call does nothing. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.device.free([...this.#buffers, ...this.#staging]);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** After all earlier calls: runs share the program's buffers. */
  async #queued<T>(task: () => Promise<T>): Promise<T> {
    this.#live();
    const behind = async (): Promise<T> => {
      await this.#last;
      this.#live();
      return task();
    };
    const mine = this.#inFlight++ === 0 ? task() : behind();
    this.#last = mine.catch(() => undefined);
    try {
      return await mine;
    } catch (error) {
      this.#live(error);
      throw error;
    } finally {
      this.#inFlight--;
    }
  }

  #live(cause?: unknown): void {
    if (this.#disposed) throw new OpabiniaError('the program was disposed of', { op: 'run', cause, advice: 'await its runs before dispose(), or load the plan again' });
  }

  #check(inputs: Inputs, options: RunOptions): Call {
    this.#live();
    const given = this.plan.inputs.map((tensor) => ({ tensor, ...valuesOf(tensor, inputs) }));
    for (const name of Object.keys(inputs)) named(name, this.plan.inputs, 'input');
    const sizes: GivenSizes[] = given.map(({ tensor, data, sizes: bySize }) => ({ tensor, sizes: bySize, elements: data.length }));
    const symbols = resolveSymbols(this.plan.symbols, options.symbols ?? {}, sizes);
    const writes = given.map(({ tensor, data }) => {
      checkCount(`input '${tensor.name}'`, printPlanAxes(tensor.axes, symbols), elementCount(tensor.axes, symbols), data.length);
      const view = toBytes(data, tensor.dtype);
      // An earlier run is still to come: the caller may reuse its array before this one's turn.
      const kept = this.#inFlight > 0 && view === data ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice() : view;
      return { buffer: this.#buffer(tensor.buffer), offset: tensor.offset, view: kept };
    });
    const symbolBuffer = this.plan.buffers.findIndex((buffer) => buffer.role === 'symbols');
    if (symbolBuffer >= 0) writes.push({ buffer: this.#buffer(symbolBuffer), offset: 0, view: Uint32Array.from(this.plan.symbols, (symbol) => symbols.get(symbol.name) ?? 0) });
    const outputs = options.outputs === undefined ? this.plan.outputs : options.outputs.map((name) => named(name, this.plan.outputs, 'output'));
    return { symbols, writes, outputs };
  }

  #write(call: Call): void {
    for (const { buffer, offset, view } of call.writes) this.device.write(buffer, offset, view);
  }

  #read(output: PlanTensor, symbols: Symbols): Read {
    const through = this.#staging[this.plan.outputs.indexOf(output)];
    if (through === undefined) throw new OpabiniaError(`output '${output.name}' has no readback buffer`, { op: 'run' });
    const bytes = Math.ceil((elementCount(output.axes, symbols) * bytesOf[output.dtype]) / 4) * 4;
    return { from: this.#buffer(output.buffer), offset: output.offset, bytes, through };
  }

  #buffer(index: number): DeviceBuffer {
    const buffer = this.#buffers[index];
    if (buffer === undefined) throw new OpabiniaError(`the plan has no buffer ${index}`, { op: 'run' });
    return buffer;
  }
}

/** Bytes of a tensor at the bound of every symbol, whole words, at least one. */
function roomOf(tensor: PlanTensor, plan: Plan): number {
  const bound: Symbols = new Map(plan.symbols.map((symbol) => [symbol.name, symbol.bound]));
  return Math.max(4, Math.ceil((elementCount(tensor.axes, bound) * bytesOf[tensor.dtype]) / 4) * 4);
}

async function prepare(dispatches: readonly PlanDispatch[], kernels: readonly DeviceKernel[], buffers: readonly DeviceBuffer[], device: Device): Promise<readonly Prepared[]> {
  const requests = dispatches.map((dispatch) => {
    const kernel = kernels[dispatch.kernel];
    if (kernel === undefined) throw new OpabiniaError(`the plan has no kernel ${dispatch.kernel}`, { op: 'load', path: dispatch.path });
    const ranges = dispatch.bindings.map(({ buffer: index, offset, bytes }) => {
      const buffer = buffers[index];
      if (buffer === undefined) throw new OpabiniaError(`the plan has no buffer ${index}`, { op: 'load', path: dispatch.path });
      return { buffer, offset, bytes };
    });
    return { kernel, ranges };
  });
  const groups = await device.bind(requests);
  return groups.map((group, i) => {
    const dispatch = dispatches[i];
    if (dispatch === undefined) throw new OpabiniaError('the device bound more groups than it was asked for', { op: 'load' });
    return { dispatch, group };
  });
}

function stepsOf(prepared: readonly Prepared[], symbols: Symbols): readonly Step[] {
  const size = (formula: Formula): number => (typeof formula === 'number' ? formula : evaluateFormula(formula, symbols));
  return prepared.map(({ dispatch: { grid: [x, y, z] }, group }) => ({ group, grid: [size(x), size(y), size(z)] }));
}

function valuesOf(tensor: PlanTensor, inputs: Inputs): { readonly data: Numbers; readonly sizes: Readonly<Record<string, number>> | undefined } {
  const label = `input '${tensor.name}' ${printPlanAxes(tensor.axes, new Map())}`;
  const input = Object.hasOwn(inputs, tensor.name) ? inputs[tensor.name] : undefined;
  if (input === undefined) {
    const near = nearestNames(tensor.name, Object.keys(inputs));
    throw new OpabiniaError(`${label} ${tensor.dtype} is not given`, { op: 'run', advice: near.length === 0 ? undefined : `given are ${near.map((name) => `'${name}'`).join(', ')}` });
  }
  const { data, sizes } = isNumbers(input) ? { data: input, sizes: undefined } : input;
  const why = refusal(data, tensor.dtype);
  if (why !== undefined) throw new OpabiniaError(`${label} ${why}`, { op: 'run' });
  const unknown = Object.keys(sizes ?? {}).find((name) => !tensor.axes.some((axis) => axis.name === name));
  if (unknown !== undefined) throw new OpabiniaError(`${label} has no axis '${unknown}'`, { op: 'run' });
  return { data, sizes };
}

function named(name: string, tensors: readonly PlanTensor[], what: string): PlanTensor {
  const found = tensors.find((tensor) => tensor.name === name);
  if (found !== undefined) return found;
  const near = nearestNames(name, tensors.map((tensor) => tensor.name)).map((other) => `'${other}'`);
  throw new OpabiniaError(`there is no ${what} '${name}'`, { op: 'run', advice: near.length === 0 ? `this program has no ${what}s` : near.join(', ') });
}

/**
 * Twenty times what the plan should take on a slow device of its class. A software driver compiles each kernel at its first
 * dispatch, for seconds, so kernels count too.
 */
function deadlineOf(plan: Plan, device: Device): number {
  const [flopsPerSecond, bytesPerSecond, compileSeconds] = device.facts.software ? [1e9, 1e9, 10] : [1e11, 1e10, 0.5];
  const work = [...plan.load, ...plan.dispatches].reduce((seconds, { flops, bytes }) => seconds + flops / flopsPerSecond + bytes / bytesPerSecond, 0);
  return 1000 * Math.min(3600, Math.max(10, 20 * work) + compileSeconds * plan.kernels.length);
}
