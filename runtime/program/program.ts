// Loads a plan into a device and runs it. Everything is made once, by `load`: a run in steady state creates no object on the device.
import { dtypeBytes, fromBytes, toBytes } from '../../dsl/graph/elements.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import type { DType } from '../../dsl/graph/op.ts';
import type { Formula, Plan, PlanSymbol, PlanTensor } from '../../compiler/plan.ts';
import type { Device, DeviceBuffer, Read, Step } from '../device/device.ts';
import { elementCount, evaluateFormula, type Symbols } from './formula.ts';
import { place, roomOf, type LoadOptions, type Placed, type Prepared } from './place.ts';
import type { ProfileRow } from '../device/kernel-times.ts';
import { checkInputs, chosen, named, type Inputs } from './inputs.ts';
import { uploadStates, type InitialStates, type ParameterValues } from './upload.ts';

export type { Input, Inputs } from './inputs.ts';

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

/** A run whose inputs were found good; nothing was written yet. */
interface Call {
  readonly symbols: Symbols;
  readonly writes: readonly {
    readonly buffer: DeviceBuffer;
    readonly offset: number;
    readonly view: ArrayBufferView<ArrayBufferLike>;
  }[];
  readonly outputs: readonly PlanTensor[];
}

/**
 * Puts a plan on a device: checks limits and memory on paper, allocates, compiles, uploads, runs the plan's load-time dispatches.
 * When any of it fails nothing stays allocated. Throws `OverLimitError`, `OutOfMemoryError`, `ValidationError`, `OpabiniaError`.
 * @example const program = await loadPlan(plan, device, params)
 */
export async function load(
  plan: Plan,
  device: Device,
  source: ParameterValues,
  options: LoadOptions = {},
): Promise<Program> {
  return new Program(plan, device, await place(plan, device, source, options));
}

/** A loaded plan. Runs are taken one after the other, in the order of the calls; with `atOnce` the next begins before the last is read. */
export class Program {
  readonly plan: Plan;
  readonly device: Device;
  readonly #placed: Placed;
  readonly #atOnce: number;
  #last: Promise<unknown> = Promise.resolve();
  #inFlight = 0;
  /** Of those in flight, what no run may overlap. */
  #alone = 0;
  #turns = 0;
  #disposed = false;

  constructor(plan: Plan, device: Device, placed: Placed) {
    this.plan = plan;
    this.device = device;
    this.#placed = placed;
    this.#atOnce = placed.staging.length / Math.max(1, plan.outputs.length) || 1;
  }

  get symbols(): readonly PlanSymbol[] {
    return this.plan.symbols;
  }

  /**
   * One run: inputs by name to outputs by name; states keep what the run wrote to them.
   * Inputs are checked before anything is written. Throws `OpabiniaError`, `DeviceError`.
   */
  async run(inputs: Inputs, options: RunOptions = {}): Promise<Record<string, Output>> {
    const call = this.#check(inputs, options);
    return this.#queued(async (turn) => {
      this.#write(call);
      const reads = call.outputs
        .map((output) => this.#read(output, call.symbols, turn))
        .filter((read) => read.bytes > 0);
      const bytes = await this.device.run(stepsOf(this.#placed.steps, call.symbols), reads, this.#placed.deadline);
      let next = 0;
      return Object.fromEntries(
        call.outputs.map((output) => {
          const elements = elementCount(output.axes, call.symbols);
          const axes = output.axes.map(({ name, size }) => ({ name, size: evaluateFormula(size, call.symbols) }));
          const read = elements === 0 ? new ArrayBuffer(0) : bytes[next++];
          return [
            output.name,
            { data: fromBytes(read ?? new ArrayBuffer(0), output.dtype, elements), axes, dtype: output.dtype },
          ];
        }),
      );
    }, 'run');
  }

  /**
   * Milliseconds of each dispatch, in the plan's order. Counts as a run: states advance. Drivers compile at the first dispatch,
   * so run once before.
   */
  async profile(inputs: Inputs, options: RunOptions = {}): Promise<readonly ProfileRow[]> {
    const call = this.#check(inputs, options);
    return this.#queued(async () => {
      this.#write(call);
      const times = await this.device.time(stepsOf(this.#placed.steps, call.symbols), this.#placed.deadline);
      return this.#placed.steps.map(({ dispatch: { path, label, flops, bytes }, group }, i) => ({
        path,
        label,
        kernel: group.kernel.name,
        milliseconds: times[i] ?? 0,
        flops,
        bytes,
      }));
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
        const reads = staging.map((through) => ({
          from: this.#buffer(state.buffer),
          offset: state.offset,
          bytes,
          through,
        }));
        const [read] = await this.device.run([], reads, this.#placed.deadline);
        const axes = state.axes.map((axis) => ({ name: axis.name, size: evaluateFormula(axis.size, bound) }));
        return {
          data: fromBytes(read ?? new ArrayBuffer(bytes), state.dtype, elementCount(state.axes, bound)),
          axes,
          dtype: state.dtype,
        };
      } finally {
        this.device.free(staging);
      }
    });
  }

  /** Sets every state back to zeros, or to what `states` has for it. */
  async reset(states?: InitialStates): Promise<void> {
    await this.#queued(async () => {
      this.device.clear(
        [...this.#placed.buffers].flatMap(([i, buffer]) => (this.plan.buffers[i]?.role === 'state' ? [buffer] : [])),
      );
      if (states !== undefined) await uploadStates(this.plan.states, this.device, (i) => this.#buffer(i), states);
    });
  }

  /** Gives every byte back. A run still in flight is refused. A second call does nothing. */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#placed.release();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  /** After all earlier calls: runs share the program's buffers. As many runs as were asked for at `load` are on the device at once. */
  async #queued<T>(task: (turn: number) => Promise<T>, kind: 'run' | 'alone' = 'alone'): Promise<T> {
    this.#live();
    const turn = kind === 'run' ? this.#turns++ % this.#atOnce : 0;
    const before = this.#last;
    const behind = async (): Promise<T> => {
      await before;
      this.#live();
      return task(turn);
    };
    const follows = kind === 'run' && this.#alone === 0 && this.#inFlight < this.#atOnce;
    const isFree = this.#inFlight++ === 0 || follows;
    if (kind === 'alone') this.#alone++;
    const mine = isFree ? task(turn) : behind();
    // Without what they gave: each would hold the results of all before it.
    this.#last = Promise.allSettled([before, mine]).then(() => undefined);
    try {
      return await mine;
    } catch (error) {
      this.#live(error);
      throw error;
    } finally {
      this.#inFlight--;
      if (kind === 'alone') this.#alone--;
    }
  }

  #live(cause?: unknown): void {
    if (this.#disposed)
      throw new OpabiniaError('the program was disposed of', {
        op: 'run',
        cause,
        advice: 'await its runs before dispose(), or load the plan again',
      });
  }

  #check(inputs: Inputs, options: RunOptions): Call {
    this.#live();
    const { symbols, given } = checkInputs(this.plan.inputs, this.plan.symbols, inputs, options.symbols);
    const writes = given.map(({ tensor, data }) => {
      const view = toBytes(data, tensor.dtype);
      // An earlier run is still to come: the caller may reuse its array before this one's turn.
      const kept =
        this.#inFlight > 0 && view === data
          ? new Uint8Array(view.buffer, view.byteOffset, view.byteLength).slice()
          : view;
      return { buffer: this.#buffer(tensor.buffer), offset: tensor.offset, view: kept };
    });
    const symbolBuffer = this.plan.buffers.findIndex((buffer) => buffer.role === 'symbols');
    if (symbolBuffer >= 0)
      writes.push({
        buffer: this.#buffer(symbolBuffer),
        offset: 0,
        view: Uint32Array.from(this.plan.symbols, (symbol) => symbols.get(symbol.name) ?? 0),
      });
    const outputs = chosen(options.outputs, this.plan.outputs, 'output');
    return { symbols, writes, outputs };
  }

  #write(call: Call): void {
    for (const { buffer, offset, view } of call.writes) this.device.write(buffer, offset, view);
  }

  #read(output: PlanTensor, symbols: Symbols, turn: number): Read {
    const { outputs } = this.plan;
    const through = this.#placed.staging[turn * outputs.length + outputs.indexOf(output)];
    if (through === undefined) throw new OpabiniaError(`output '${output.name}' has no readback buffer`, { op: 'run' });
    const bytes = Math.ceil((elementCount(output.axes, symbols) * dtypeBytes(output.dtype)) / 4) * 4;
    return { from: this.#buffer(output.buffer), offset: output.offset, bytes, through };
  }

  #buffer(index: number): DeviceBuffer {
    const buffer = this.#placed.buffers.get(index);
    if (buffer === undefined) throw new OpabiniaError(`the plan has no buffer ${index}`, { op: 'run' });
    return buffer;
  }
}

function stepsOf(prepared: readonly Prepared[], symbols: Symbols): readonly Step[] {
  const size = (formula: Formula): number =>
    typeof formula === 'number' ? formula : evaluateFormula(formula, symbols);
  return prepared.map(
    ({
      dispatch: {
        grid: [x, y, z],
      },
      group,
    }) => ({ group, grid: [size(x), size(y), size(z)] }),
  );
}
