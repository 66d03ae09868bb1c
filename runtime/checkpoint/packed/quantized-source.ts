// Weights quantized as they are loaded: a source of parameters whose matrices are given as the planes of a storage format, panel by panel.
import { OpabiniaError } from '../../../dsl/error.ts';
import type { DType } from '../../../dsl/graph/op.ts';
import { encodeBlocks, type Planes, type StorageFormat } from '../../../dsl/storage/format.ts';
import { q4_0 } from '../../../dsl/storage/q4.ts';
import { q8_0 } from '../../../dsl/storage/q8-0.ts';
import { planeShapes, type PlaneShapes } from '../../../dsl/storage/unpack.ts';
import type { Source } from '../joined-source.ts';

export const weightFormats = { q4: q4_0, q8: q8_0 } as const satisfies Record<string, StorageFormat>;

export interface QuantizeOptions {
  readonly format: keyof typeof weightFormats;
  /** Globs of paths, `*` for anything: what is quantized, and what of that is not. All matrices but tables of positions by default. */
  readonly only?: readonly string[] | undefined;
  readonly except?: readonly string[] | undefined;
  /** Elements of the smallest matrix that is worth it. */
  readonly least?: number | undefined;
}

const fewestElements = 4096;

/**
 * `source` with its matrices quantized. A tensor of another rank, or a small one, stays as it is. Nothing is read before it is asked for.
 * @example const small = quantizedSource(checkpoint, { format: 'q4', except: ['lm_head.*'] })
 */
export function quantizedSource(
  source: Source,
  { format: name, only, except = [], least = fewestElements }: QuantizeOptions,
): Source {
  const format = weightFormats[name];
  const wanted = (only ?? ['*']).map(globPattern);
  const unwanted = [...except, ...(only === undefined ? ['*position*', '*pos_embed*'] : [])].map(globPattern);
  const shapesOf = (path: string): PlaneShapes | undefined => {
    const shape = source.shape(path);
    if (shape === undefined || shape.reduce((product, size) => product * size, 1) < least) return undefined;
    const isWanted = wanted.some((glob) => glob.test(path)) && !unwanted.some((glob) => glob.test(path));
    return isWanted ? planeShapes(format, shape) : undefined;
  };
  const panels = new PanelReader(source, format);
  const plane = (path: string): Plane | undefined => {
    const [, matrix = '', which = ''] = /^(.+)#(codes|scales)$/.exec(path) ?? [];
    const shapes = matrix === '' ? undefined : shapesOf(matrix);
    return shapes === undefined ? undefined : { matrix, shapes, which: which === 'codes' ? 'codes' : 'scales' };
  };
  const part = (path: string, shape: readonly number[], start: number, count: number): Float32Array | Uint32Array => {
    const found = plane(path);
    if (found !== undefined) return panels.read(found, shape, start, count);
    return source.part?.(path, shape, start, count) ?? source.read(path, shape).subarray(start, start + count);
  };
  return {
    ...source,
    packedAs: (path) => (shapesOf(path) === undefined ? undefined : format),
    read: (path, shape) =>
      plane(path) === undefined
        ? source.read(path, shape)
        : part(
            path,
            shape,
            0,
            shape.reduce((product, size) => product * size, 1),
          ),
    part,
    storedPart: (path: string, shape: readonly number[], dtype: DType, start: number, count: number) =>
      plane(path) === undefined ? source.storedPart?.(path, shape, dtype, start, count) : undefined,
  };
}

interface Plane {
  readonly matrix: string;
  readonly which: 'codes' | 'scales';
  readonly shapes: PlaneShapes;
}

interface Panel {
  readonly codes: Uint32Array;
  readonly scales: Float32Array;
}

/** Encodes one panel at a time, and keeps the last: parts are asked for one after the other. */
class PanelReader {
  readonly #source: Source;
  readonly #format: StorageFormat;
  #last: { readonly key: string; readonly panel: Panel } | undefined;

  constructor(source: Source, format: StorageFormat) {
    this.#source = source;
    this.#format = format;
  }

  /** Elements of a plane. Throws `OpabiniaError` for a shape that is not the plane's, and for weights that are not finite. */
  read(plane: Plane, shape: readonly number[], start: number, count: number): Float32Array | Uint32Array {
    const { matrix, which, shapes } = plane;
    if (shape.join() !== shapes[which].join())
      throw new OpabiniaError(`the ${which} are ${shapes[which].join('×')}, and ${shape.join('×')} was asked for`, {
        op: 'quantize',
        path: matrix,
      });
    const size = shapes[which][1] * shapes[which][2];
    const into = which === 'codes' ? new Uint32Array(count) : new Float32Array(count);
    for (let at = 0; at < count;) {
      const [panel, inside] = [Math.floor((start + at) / size), (start + at) % size];
      const length = Math.min(size - inside, count - at);
      into.set(this.#panel(plane, panel)[which].subarray(inside, inside + length), at);
      at += length;
    }
    return into;
  }

  #panel(plane: Plane, index: number): Panel {
    const key = `${plane.matrix}/${index}`;
    if (this.#last?.key !== key) this.#last = { key, panel: this.#encode(plane, index) };
    return this.#last.panel;
  }

  #encode({ matrix, shapes: { columns, codes, scales } }: Plane, index: number): Panel {
    const format = this.#format;
    const { planes } = format;
    const shape = this.#source.shape(matrix);
    if (planes === undefined || shape === undefined) throw new TypeError(`${format.name} has no planes`);
    const [rows = 0, inner = 0] = shape;
    const panel: Panel = {
      codes: new Uint32Array(codes[1] * columns),
      scales: new Float32Array(scales[1] * columns),
    };
    const first = index * columns;
    const here = Math.min(columns, rows - first);
    const values = this.#source.part?.(matrix, shape, first * inner, here * inner);
    const all = values ?? this.#source.read(matrix, shape).subarray(first * inner, (first + here) * inner);
    if (!(all instanceof Float32Array)) throw new TypeError(`'${matrix}' is quantized already`);
    for (let column = 0; column < here; column++) {
      const row = all.subarray(column * inner, (column + 1) * inner);
      if (!row.every(Number.isFinite))
        throw new OpabiniaError('has weights that are not finite, which cannot be quantized', {
          op: 'quantize',
          path: matrix,
          advice: 'leave it out by a glob, or repair the checkpoint',
        });
      const filled = new Float32Array(scales[1] * format.block);
      filled.set(row);
      place(format, planes, encodeBlocks(format, filled), panel, column, columns);
    }
    return panel;
  }
}

/** The blocks of one row into the planes of a panel. */
function place(
  format: StorageFormat,
  { bits, scale, code }: Planes,
  bytes: Uint8Array,
  panel: Panel,
  column: number,
  columns: number,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const each = 32 / bits;
  const words = format.block / each;
  for (let g = 0; g < bytes.byteLength / format.bytes; g++) {
    panel.scales[g * columns + column] = scale(view, g * format.bytes);
    for (let w = 0; w < words; w++) {
      let word = 0;
      for (let i = 0; i < each; i++) word |= code(view, g * format.bytes, w * each + i) << (bits * i);
      panel.codes[(g * words + w) * columns + column] = word >>> 0;
    }
  }
}

function globPattern(glob: string): RegExp {
  return new RegExp(
    `^${glob
      .split('*')
      .map((part) => RegExp.escape(part))
      .join('.*')}$`,
  );
}
