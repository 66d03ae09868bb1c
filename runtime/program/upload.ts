// Fills the buffers of a plan: constants from the plan, parameters from where they are stored, in pieces, so that host memory stays bounded.
import { dtypeBytes, toBytes } from '../../dsl/graph/elements.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import type { DType } from '../../dsl/graph/op.ts';
import type { Plan, PlanTensor } from '../../compiler/plan.ts';
import type { Device, DeviceBuffer } from '../device/device.ts';
import { elementCount, evaluateFormula, printPlanAxes } from './formula.ts';

/** Where parameter values come from: a `ParamSource` is one. */
export interface ParameterValues {
  /** Row-major values of the tensor at `path`. */
  read(path: string, shape: readonly number[]): Float32Array | Uint32Array;
  /** `count` of them from element `start` on. A source that has this is never asked for a large tensor whole. */
  readonly part?:
    | ((path: string, shape: readonly number[], start: number, count: number) => Float32Array | Uint32Array)
    | undefined;
  /** The same as stored bytes; undefined when it is stored as another dtype. */
  readonly storedPart?:
    | ((path: string, shape: readonly number[], dtype: DType, start: number, count: number) => Uint8Array | undefined)
    | undefined;
}

export interface Progress {
  (done: number, total: number, path: string): void;
}

const pieceBytes = 16 * 2 ** 20;
/** Dawn holds a copy of what was written until the queue has taken it. */
const flushBytes = 64 * 2 ** 20;
const flushDeadline = 120_000;

/** The constants among the buffers at these indices. */
export async function uploadConstants(
  plan: Plan,
  device: Device,
  buffers: ReadonlyMap<number, DeviceBuffer>,
): Promise<void> {
  const upload = new Upload(device);
  for (const [i, target] of buffers) {
    const buffer = plan.buffers[i];
    if (buffer?.contents === undefined) continue;
    const bytes = Buffer.from(buffer.contents, 'base64');
    if (bytes.byteLength > buffer.bytes)
      throw new OpabiniaError(
        `constant '${buffer.name}' holds ${bytes.byteLength} bytes, and its buffer ${buffer.bytes}`,
        { op: 'load' },
      );
    await upload.write(target, 0, bytes);
  }
  await upload.end();
}

/** These parameters. Throws `OpabiniaError` when the source has another number of values than the plan's shape. */
export async function uploadParameters(
  parameters: readonly PlanTensor[],
  device: Device,
  bufferOf: (index: number) => DeviceBuffer,
  source: ParameterValues,
  done: (path: string) => void,
): Promise<void> {
  const upload = new Upload(device);
  for (const parameter of parameters) {
    const shape = parameter.axes.map((axis) => evaluateFormula(axis.size, new Map()));
    const wanted = elementCount(parameter.axes, new Map());
    const width = dtypeBytes(parameter.dtype);
    // A whole number of words: writes begin at multiples of 4 bytes.
    const step = source.part === undefined ? Math.max(1, wanted) : pieceBytes / 4;
    for (let start = 0; start < wanted || start === 0; start += step) {
      const count = Math.min(step, wanted - start);
      const values = piece(source, parameter, shape, start, count, step >= wanted);
      if (values.count !== count) {
        throw new OpabiniaError(
          `parameter ${printPlanAxes(parameter.axes, new Map())} has ${wanted} values, and its source gave ${start + values.count}`,
          { op: 'load', path: parameter.name },
        );
      }
      await upload.write(bufferOf(parameter.buffer), parameter.offset + start * width, values.view);
    }
    done(parameter.name);
  }
  await upload.end();
}

/** Values of states by name: parameters that learn, what an optimizer has saved. */
export interface InitialStates extends ParameterValues {
  readonly has: (name: string) => boolean;
}

/** Those of the states that `values` has. */
export async function uploadStates(
  states: readonly PlanTensor[],
  device: Device,
  bufferOf: (index: number) => DeviceBuffer,
  values: InitialStates,
): Promise<void> {
  const given = states.filter((state) => values.has(state.name));
  await uploadParameters(given, device, bufferOf, values, () => undefined);
}

interface Piece {
  readonly count: number;
  readonly view: ArrayBufferView<ArrayBufferLike>;
}

function piece(
  source: ParameterValues,
  { name, dtype }: PlanTensor,
  shape: readonly number[],
  start: number,
  count: number,
  whole: boolean,
): Piece {
  const stored = source.storedPart?.(name, shape, dtype, start, count);
  if (stored !== undefined) return { count: stored.byteLength / dtypeBytes(dtype), view: stored };
  const values = whole || source.part === undefined ? source.read(name, shape) : source.part(name, shape, start, count);
  return { count: values.length, view: toBytes(values, dtype) };
}

class Upload {
  readonly #device: Device;
  #pending = 0;

  constructor(device: Device) {
    this.#device = device;
  }

  async write(target: DeviceBuffer, offset: number, view: ArrayBufferView<ArrayBufferLike>): Promise<void> {
    for (let at = 0; at < view.byteLength; at += pieceBytes) {
      const bytes = Math.min(pieceBytes, view.byteLength - at);
      this.#device.write(target, offset + at, new Uint8Array(view.buffer, view.byteOffset + at, bytes));
      this.#pending += bytes;
      if (this.#pending >= flushBytes) await this.end();
    }
  }

  async end(): Promise<void> {
    if (this.#pending === 0) return;
    this.#pending = 0;
    await this.#device.flush(flushDeadline);
  }
}
