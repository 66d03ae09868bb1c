// A source of parameters some of whose matrices are given as the planes of a storage format, panel by panel, as they are asked for.
import { OpabiniaError } from '../../../dsl/error.ts';
import type { DType } from '../../../dsl/graph/op.ts';
import type { Planes, StorageFormat } from '../../../dsl/storage/format.ts';
import { planeShapes, type PlaneShapes } from '../../../dsl/storage/unpack.ts';
import type { Source } from '../joined-source.ts';
import type { BlockRows } from './block-rows.ts';

/** `source` with the matrices that `blocksOf` knows as planes of their formats. `blocksOf` is asked often, and reads nothing by itself. */
export function planeSource(source: Source, blocksOf: (path: string) => BlockRows | undefined): Source {
  const panels = new PanelReader();
  const plane = (path: string): Plane | undefined => {
    const [, matrix = '', which] = /^(.+)#(codes|high|scales|offsets|order)$/.exec(path) ?? [];
    const [rows, shape] = matrix === '' ? [] : [blocksOf(matrix), source.shape(matrix)];
    const shapes = rows === undefined || shape === undefined ? undefined : planeShapes(rows.format, shape);
    if (rows === undefined || shape === undefined || shapes === undefined) return undefined;
    return { matrix, rows, shapes, height: shape[0] ?? 0, which: which as Plane['which'] };
  };
  const part = (path: string, shape: readonly number[], start: number, count: number): Float32Array | Uint32Array => {
    const found = plane(path);
    if (found !== undefined) return panels.read(found, shape, start, count);
    return source.part?.(path, shape, start, count) ?? source.read(path, shape).subarray(start, start + count);
  };
  return {
    ...source,
    isSorted: (path) => blocksOf(path)?.order !== undefined,
    packedAs: (path) => {
      const [rows, shape] = [blocksOf(path), source.shape(path)];
      return rows !== undefined && shape !== undefined && planeShapes(rows.format, shape) !== undefined
        ? rows.format
        : undefined;
    },
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

/** `source` with every matrix that is stored quantized as it is stored. */
export function storedSource(source: Source): Source {
  return planeSource(source, (path) => source.blocks?.(path));
}

interface Plane {
  readonly matrix: string;
  readonly rows: BlockRows;
  readonly which: keyof Panel | 'order';
  readonly shapes: PlaneShapes;
  /** Rows of the matrix. */
  readonly height: number;
}

interface Panel {
  readonly codes: Uint32Array;
  readonly high: Uint32Array;
  readonly scales: Float32Array;
  readonly offsets: Float32Array;
}

/** Makes one panel at a time, and keeps the last: parts are asked for one after the other. */
class PanelReader {
  #last: { readonly key: string; readonly panel: Panel } | undefined;

  /** Elements of a plane. Throws `OpabiniaError` for a shape that is not the plane's. */
  read(plane: Plane, shape: readonly number[], start: number, count: number): Float32Array | Uint32Array {
    const { matrix, which, shapes } = plane;
    if (which === 'order') return placesOf(plane).subarray(start, start + count);
    const own = which === 'codes' ? shapes.codes : which === 'high' ? (shapes.high ?? [0, 0, 0]) : shapes.scales;
    if (shape.join() !== own.join())
      throw new OpabiniaError(`the ${which} are ${own.join('×')}, and ${shape.join('×')} was asked for`, {
        op: 'planes',
        path: matrix,
      });
    const size = own[1] * own[2];
    const into = which === 'codes' || which === 'high' ? new Uint32Array(count) : new Float32Array(count);
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
    if (this.#last?.key !== key) this.#last = { key, panel: panelOf(plane, index) };
    return this.#last.panel;
  }
}

/** The place of each column in the blocks. Throws `OpabiniaError` for a matrix whose columns are in order. */
function placesOf({ matrix, rows: { order } }: Plane): Uint32Array {
  if (order === undefined) throw new OpabiniaError('has its columns in order', { op: 'planes', path: matrix });
  const places = new Uint32Array(order.length);
  order.forEach((column, place) => (places[column] = place));
  return places;
}

function panelOf({ rows, shapes: { columns, codes, high, scales }, height }: Plane, index: number): Panel {
  const { format } = rows;
  const { planes } = format;
  const panel: Panel = {
    codes: new Uint32Array(codes[1] * columns),
    high: new Uint32Array(high === undefined ? 0 : high[1] * columns),
    scales: new Float32Array(scales[1] * columns),
    offsets: new Float32Array(planes.offset === undefined ? 0 : scales[1] * columns),
  };
  const first = index * columns;
  const here = Math.min(columns, height - first);
  const bytes = rows.read(first, here);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const perRow = bytes.byteLength / here / format.bytes;
  for (let column = 0; column < here; column++)
    for (let b = 0; b < perRow; b++)
      placeBlock(format, planes, view, (column * perRow + b) * format.bytes, b, panel, column, columns);
  return panel;
}

/** The block at byte `at`, number `b` of its row, into the planes of a panel. */
function placeBlock(
  { block }: StorageFormat,
  { bits, high, group, scale, code, word, highWord, offset }: Planes,
  view: DataView,
  at: number,
  b: number,
  panel: Panel,
  column: number,
  columns: number,
): void {
  const groups = block / group;
  for (let g = 0; g < groups; g++) {
    const own = (b * groups + g) * columns + column;
    panel.scales[own] = scale(view, at, g);
    if (offset !== undefined) panel.offsets[own] = offset.of(view, at, g);
  }
  const place = (
    into: Uint32Array,
    own: number,
    whole: ((view: DataView, at: number, w: number) => number) | undefined,
    bitsOf: (e: number) => number,
  ): void => {
    const each = 32 / own;
    const words = block / each;
    for (let w = 0; w < words; w++) {
      let word = whole?.(view, at, w) ?? 0;
      if (whole === undefined) for (let i = 0; i < each; i++) word |= bitsOf(w * each + i) << (own * i);
      into[(b * words + w) * columns + column] = word >>> 0;
    }
  };
  const low = 2 ** bits - 1;
  place(panel.codes, bits, word, (e) => code(view, at, e) & low);
  if (high !== undefined) place(panel.high, high, highWord, (e) => code(view, at, e) >>> bits);
}
