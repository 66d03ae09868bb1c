// A matrix whose weights a checkpoint keeps as codes, scales and zero points, as blocks of one storage format.
import { affine, readScale, writeScale, type AffineForm, type ScaleDType } from '../../../dsl/storage/affine.ts';
import type { StorageFormat } from '../../../dsl/storage/format.ts';
import { OpabiniaError } from '../../../dsl/error.ts';
import { oneLine } from '../../../dsl/text/one-line.ts';
import type { StoredTensor } from '../safetensors.ts';

/** Stored tensors of one module, by their names below it. */
export interface ModuleTensors {
  readonly path: string;
  /** The file that has them, or some of them. */
  readonly file: string;
  find(name: string): StoredTensor | undefined;
  /** Throws `OpabiniaError` where it is missing. */
  bytes(name: string): Uint8Array;
}

/** How the config says that a module is packed. */
export interface Packing {
  readonly bits: number;
  /** Elements along the input that share a scale; −1: all of a row. */
  readonly group: number;
  /** Added to the zero points of GPTQ: 1 for checkpoints of the first format, which store one less. */
  readonly zeroOffset: 0 | 1;
  /** Of compressed-tensors: false where every matrix has zero points, which must be there then. */
  readonly symmetric?: boolean | undefined;
}

export interface PackedTensor {
  readonly shape: readonly [rows: number, columns: number];
  readonly format: StorageFormat;
  /** Column `c` of the blocks is column `order[c]` of the matrix; absent where they are in order. */
  readonly order?: Int32Array | undefined;
  /** Blocks, row after row. Computed when asked for. */
  blocks(): Uint8Array<ArrayBuffer>;
}

/** Whether a module has tensors of this layout, and what they are. Throws `OpabiniaError` for those that do not fit together. */
export type PackedLayout = (module: ModuleTensors, packing: Packing) => PackedTensor | undefined;

export function refusePacked(module: ModuleTensors, what: string, advice?: string): OpabiniaError {
  return new OpabiniaError(`the packed weight in ${module.file} ${what}`, {
    op: 'openPacked',
    path: oneLine(module.path),
    advice: advice ?? 'the weights and the quantization_config may belong to different checkpoints',
  });
}

/** 4 or 8 bits. Throws `OpabiniaError` for any other number. */
export function wholeBits(module: ModuleTensors, bits: number): 4 | 8 {
  if (bits === 4 || bits === 8) return bits;
  throw refusePacked(
    module,
    `has ${bits} bits an element`,
    '4 and 8 bits are read; take another version of the checkpoint',
  );
}

/** Elements of a group. Throws `OpabiniaError` for an empty matrix, and where they do not divide the row, or are not a multiple of 8. */
export function groupOf(module: ModuleTensors, group: number, rows: number, columns: number): number {
  if (rows === 0 || columns === 0)
    throw refusePacked(
      module,
      `is ${rows}×${columns}: it has no elements`,
      'the file may be damaged; fetch the checkpoint again',
    );
  const size = group === -1 ? columns : group;
  if (!Number.isInteger(size) || size <= 0 || columns % size !== 0)
    throw refusePacked(module, `has rows of ${columns} elements, which groups of ${size} do not divide evenly`);
  if (size % 8 === 0) return size;
  throw refusePacked(
    module,
    `has groups of ${size} elements, which is not a multiple of 8`,
    'other groups are not read; take another version of the checkpoint',
  );
}

/** The dtype of a tensor of scales. Throws `OpabiniaError` for integers. */
export function scaleDType(module: ModuleTensors, name: string): ScaleDType {
  const dtype = module.find(name)?.dtype;
  if (dtype === 'F16') return 'f16';
  if (dtype === 'BF16') return 'bf16';
  if (dtype === 'F32') return 'f32';
  throw refusePacked(module, `has '${name}' as ${dtype ?? 'nothing'}, not as F16, BF16 or F32`);
}

/** Rows and columns of a matrix of words. Throws `OpabiniaError` for another dtype, and for another number of axes. */
export function wordMatrix(
  module: ModuleTensors,
  name: string,
  dtype: 'I32' | 'U32' = 'I32',
): readonly [number, number] {
  expectDType(module, name, dtype);
  const { shape } = module.find(name) ?? { shape: [] };
  const [rows = 0, columns = 0] = shape;
  if (shape.length === 2) return [rows, columns];
  throw refusePacked(module, `has '${name}' of ${shape.length} axes, not two`);
}

/** Throws `OpabiniaError` unless the tensor is there and has one of these dtypes: words are read as they lie. */
export function expectDType(module: ModuleTensors, name: string, ...dtypes: readonly string[]): void {
  const found = module.find(name);
  if (found === undefined) throw refusePacked(module, `has no '${name}'`);
  if (!dtypes.includes(found.dtype))
    throw refusePacked(
      module,
      `has '${name}' as ${found.dtype}, not as ${dtypes.join(' or ')}`,
      'another program may have converted it; take the checkpoint as it was published',
    );
}

/** Throws `OpabiniaError` unless the tensor has 32-bit words, and this shape. */
export function expectWords(module: ModuleTensors, name: string, shape: readonly number[]): void {
  expectDType(module, name, 'I32');
  expectShape(module, name, shape);
}

/** Throws `OpabiniaError` unless the tensor has this shape. */
export function expectShape(module: ModuleTensors, name: string, shape: readonly number[]): void {
  const found = module.find(name)?.shape;
  const written = found?.length === 0 ? 'one number' : (found?.join('×') ?? 'nothing');
  if (found?.join() !== shape.join())
    throw refusePacked(module, `has '${name}' as ${written} where ${shape.join('×')} belongs`);
}

/** Little-endian words of 32 bits. */
export function words(bytes: Uint8Array): Uint32Array {
  return new Uint32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
}

/** Scales of a tensor by flat index. */
export function scalesOf(module: ModuleTensors, name: string): (index: number) => number {
  const dtype = scaleDType(module, name);
  const bytes = module.bytes(name);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const width = dtype === 'f32' ? 4 : 2;
  return (index) => readScale(view, index * width, dtype);
}

/**
 * Columns by group, in order within each, of the words `name` that say the group of each column; undefined where they are in order already.
 * Throws `OpabiniaError` for groups of unequal size.
 */
export function sortedColumns(
  module: ModuleTensors,
  name: string,
  columns: number,
  group: number,
): Int32Array | undefined {
  expectWords(module, name, [columns]);
  const groupOfColumn = words(module.bytes(name));
  const members = Array.from({ length: columns / group }, (): number[] => []);
  groupOfColumn.forEach((g, column) => {
    members[g]?.push(column);
  });
  const wrong = members.findIndex((list) => list.length !== group);
  if (wrong >= 0)
    throw refusePacked(module, `has ${members[wrong]?.length ?? 0} columns in group ${wrong}, not ${group}`);
  const order = Int32Array.from(members.flat());
  return order.every((column, place) => column === place) ? undefined : order;
}

/** Blocks of an affine format from a code of each element and two numbers of each group. */
export function affineBlocks(
  form: AffineForm,
  rows: number,
  columns: number,
  parts: {
    readonly code: (row: number, column: number) => number;
    readonly scale: (row: number, group: number) => number;
    readonly offset: (row: number, group: number) => number;
  },
): Uint8Array<ArrayBuffer> {
  const format = affine(form);
  const groups = columns / form.group;
  const bytes = new Uint8Array(rows * groups * format.bytes);
  const view = new DataView(bytes.buffer);
  const width = form.scale === 'f32' ? 4 : 2;
  for (let row = 0, at = 0; row < rows; row++) {
    for (let g = 0; g < groups; g++, at += format.bytes) {
      writeScale(view, at, parts.scale(row, g), form.scale);
      writeScale(view, at + width, parts.offset(row, g), form.scale);
      for (let e = 0; e < form.group; e++) {
        const code = parts.code(row, g * form.group + e);
        if (form.bits === 8) bytes[at + 2 * width + e] = code;
        else bytes[at + 2 * width + (e >> 1)] = (bytes[at + 2 * width + (e >> 1)] ?? 0) | (code << (4 * (e & 1)));
      }
    }
  }
  return bytes;
}

/** Code `index` of those that lie in words, lowest bits first. */
export function codeIn(packed: Uint32Array, bits: 4 | 8, index: number): number {
  const each = 32 / bits;
  return ((packed[Math.floor(index / each)] ?? 0) >>> (bits * (index % each))) & (2 ** bits - 1);
}
