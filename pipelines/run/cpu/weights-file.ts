// Parameters written for ONNX Runtime: each once for all programs, as f32, with its axes in the order in which it is read.
import { join } from 'node:path';
import type { StoredWeight } from '../../../compiler/export/onnx-model.ts';
import { OpabiniaError } from '../../../dsl/error.ts';
import { AtomicFile } from '../../../runtime/files/atomic-file.ts';
import type { ParameterValues } from '../../../runtime/program/upload.ts';
import { plural } from '../../../dsl/text/plural.ts';

/** Where memory pages begin: files are mapped from there. */
const alignment = 4096;
/** Values that are written at a time. */
const pieceValues = 4 * 2 ** 20;

export class WeightsFile {
  readonly #file: AtomicFile;
  readonly #name: string;
  readonly #source: ParameterValues;
  readonly #told: (path: string) => void;
  readonly #known: ReadonlyMap<string, StoredWeight>;
  readonly #places = new Map<string, StoredWeight>();

  /** `known`: what earlier files hold, which is not written again; `told`: of each tensor that is. */
  constructor(
    { folder, name }: { readonly folder: string; readonly name: string },
    source: ParameterValues,
    known: ReadonlyMap<string, StoredWeight>,
    told: (path: string) => void,
  ) {
    this.#file = new AtomicFile(join(folder, name), { op: 'load' });
    this.#name = name;
    this.#source = source;
    this.#known = known;
    this.#told = told;
  }

  /** Throws `OpabiniaError` where the disk is full, or the source has other values than the graph reads. */
  place(path: string, shape: readonly number[], order: readonly number[]): StoredWeight {
    const key = `${path}|${order.join()}`;
    const known = this.#known.get(key) ?? this.#places.get(key);
    if (known !== undefined) return known;
    const padding = (alignment - (this.#file.bytes % alignment)) % alignment;
    if (padding > 0) this.#file.write(new Uint8Array(padding));
    const offset = this.#file.bytes;
    const count = shape.reduce((product, size) => product * size, 1);
    const still = order.every((place, i) => place === i);
    if (still && this.#source.part !== undefined)
      for (let start = 0; start < count; start += pieceValues)
        this.#write(this.#source.part(path, shape, start, Math.min(pieceValues, count - start)));
    else {
      const values = this.#source.read(path, shape);
      if (still) this.#write(values);
      else for (const piece of permuted(values, shape, order)) this.#write(piece);
    }
    const length = this.#file.bytes - offset;
    if (length !== 4 * count)
      throw new OpabiniaError(`a parameter has ${plural(count, 'value')}, and its source gave ${length / 4}`, {
        op: 'load',
        path,
      });
    const placed: StoredWeight = { dtype: 'F32', location: this.#name, offset, length };
    this.#places.set(key, placed);
    this.#told(path);
    return placed;
  }

  /** The file is whole; what it holds. */
  commit(): ReadonlyMap<string, StoredWeight> {
    this.#file.commit();
    return this.#places;
  }

  abort(): void {
    this.#file.abort();
  }

  #write(values: Float32Array | Uint32Array): void {
    this.#file.write(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
}

/** Row-major values with the axes of `shape` in another order, piece by piece. */
export function* permuted(
  values: Float32Array | Uint32Array,
  shape: readonly number[],
  order: readonly number[],
): Generator<Float32Array> {
  const strides = shape.map((_, i) => shape.slice(i + 1).reduce((product, size) => product * size, 1));
  const sizes = order.map((place) => shape[place] ?? 1);
  const steps = order.map((place) => strides[place] ?? 0);
  const index = sizes.map(() => 0);
  const inner = sizes.at(-1) ?? 1;
  const step = steps.at(-1) ?? 0;
  const rows = values.length / Math.max(1, inner);
  const rowsAtOnce = Math.max(1, Math.floor(pieceValues / Math.max(1, inner)));
  let from = 0;
  for (let row = 0; row < rows; row += rowsAtOnce) {
    const count = Math.min(rowsAtOnce, rows - row);
    const piece = new Float32Array(count * inner);
    for (let i = 0; i < count; i++) {
      for (let j = 0; j < inner; j++) piece[i * inner + j] = values[from + j * step] ?? NaN;
      // The next row: the last axis but one turns first.
      for (let axis = sizes.length - 2; axis >= 0; axis--) {
        from += steps[axis] ?? 0;
        index[axis] = (index[axis] ?? 0) + 1;
        if (index[axis] !== sizes[axis]) break;
        from -= (steps[axis] ?? 0) * (sizes[axis] ?? 0);
        index[axis] = 0;
      }
    }
    yield piece;
  }
}
