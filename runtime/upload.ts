// Fills the buffers of a plan: constants from the plan, parameters from where they are stored, in pieces, so that host memory stays bounded.
import { OpabiniaError } from '../dsl/error.ts';
import type { Plan } from '../compiler/plan.ts';
import type { Device, DeviceBuffer } from './device.ts';
import { elementCount, evaluateFormula, printPlanAxes } from './formula.ts';
import { toBytes } from './values.ts';

/** Where parameter values come from: a `ParamSource` is one. */
export interface ParameterValues {
  /** Row-major values of the tensor at `path`. */
  read(path: string, shape: readonly number[]): Float32Array;
}

export interface Progress {
  (done: number, total: number, path: string): void;
}

const pieceBytes = 16 * 2 ** 20;
/** Dawn holds a copy of what was written until the queue has taken it. */
const flushBytes = 64 * 2 ** 20;
const flushDeadline = 120_000;

export async function uploadConstants(plan: Plan, device: Device, buffers: readonly DeviceBuffer[]): Promise<void> {
  const upload = new Upload(device);
  for (const [i, buffer] of plan.buffers.entries()) {
    const target = buffers[i];
    if (buffer.contents === undefined || target === undefined) continue;
    const bytes = Buffer.from(buffer.contents, 'base64');
    if (bytes.byteLength > buffer.bytes) throw new OpabiniaError(`constant '${buffer.name}' holds ${bytes.byteLength} bytes, and its buffer ${buffer.bytes}`, { op: 'load' });
    await upload.write(target, 0, bytes);
  }
  await upload.end();
}

/** Throws `OpabiniaError` when the source has another number of values than the plan's shape. */
export async function uploadParameters(plan: Plan, device: Device, buffers: readonly DeviceBuffer[], source: ParameterValues, progress?: Progress): Promise<void> {
  const upload = new Upload(device);
  for (const [i, parameter] of plan.parameters.entries()) {
    const target = buffers[parameter.buffer];
    if (target === undefined) continue;
    const shape = parameter.axes.map((axis) => evaluateFormula(axis.size, new Map()));
    const values = source.read(parameter.name, shape);
    const wanted = elementCount(parameter.axes, new Map());
    if (values.length !== wanted) {
      throw new OpabiniaError(`parameter ${printPlanAxes(parameter.axes, new Map())} has ${wanted} values, and its source gave ${values.length}`, { op: 'load', path: parameter.name });
    }
    await upload.write(target, parameter.offset, toBytes(values, parameter.dtype));
    progress?.(i + 1, plan.parameters.length, parameter.name);
  }
  await upload.end();
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
