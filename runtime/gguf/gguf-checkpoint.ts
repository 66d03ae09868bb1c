// The tensors of a GGUF file as a checkpoint under other names: blocks are decoded as they are read, rows are put where they belong.
import { OpabiniaError, nearestNames } from '../../dsl/error.ts';
import { oneLine } from '../../dsl/text/one-line.ts';
import type { DType } from '../../dsl/graph/op.ts';
import type { Checkpoint } from '../checkpoint/checkpoint.ts';
import { storedBytes, type StoredTensor } from '../checkpoint/safetensors.ts';
import { decodeAsF32 } from '../checkpoint/stored-values.ts';
import { decodeBlocks } from '../../dsl/storage/format.ts';
import type { GgufFile, GgufTensor } from './gguf-file.ts';

/** One tensor under the name and in the shape that a model asks for. */
export interface PlacedTensor {
  readonly file: GgufFile;
  readonly name: string;
  readonly shape: readonly number[];
  readonly tensor: GgufTensor;
  /** Heads whose rows are in the order of adjacent pairs. */
  readonly pairedHeads?: number | undefined;
}

/** Elements `start … start + count − 1` as f32; whole blocks are read around them. */
export function readValues(file: GgufFile, tensor: GgufTensor, start: number, count: number): Float32Array {
  const { type } = tensor;
  const { block, bytes } = type.kind === 'blocks' ? type.format : { block: 1, bytes: storedBytes[type.dtype] };
  const first = Math.floor(start / block);
  const raw = new Uint8Array((Math.ceil((start + count) / block) - first) * bytes);
  file.readInto(tensor, raw, first * bytes);
  if (type.kind === 'plain') return decodeAsF32(type.dtype, raw);
  const values = decodeBlocks(type.format, raw);
  const skipped = start - first * block;
  return skipped === 0 && values.length === count ? values : values.slice(skipped, skipped + count);
}

/** The row of the file that holds row `row` of the model: rows i and half + i of a head are neighbors there. */
export function pairedRow(row: number, rows: number, heads: number): number {
  const size = rows / heads;
  const [head, inner] = [Math.floor(row / size), row % size];
  const half = size / 2;
  return head * size + (inner < half ? 2 * inner : 2 * (inner - half) + 1);
}

/** Blocks of rows, each where it belongs: a row moves whole. */
function rowBlocks({ file, tensor, shape, pairedHeads }: PlacedTensor, first: number, count: number): Uint8Array {
  const [rows = 1] = shape;
  const wide = tensor.bytes / rows;
  const bytes = new Uint8Array(count * wide);
  if (pairedHeads === undefined) file.readInto(tensor, bytes, first * wide);
  else
    for (let row = 0; row < count; row++)
      file.readInto(
        tensor,
        bytes.subarray(row * wide, (row + 1) * wide),
        pairedRow(first + row, rows, pairedHeads) * wide,
      );
  return bytes;
}

/** Of one file, or of several. Throws `OpabiniaError` for two tensors of one name. */
export function ggufCheckpoint(
  placed: readonly PlacedTensor[],
  options: { readonly path: string; readonly dtype: 'f32' | 'f16'; readonly close: () => void },
): Checkpoint {
  const { path: where } = options;
  const byName = new Map(placed.map((one) => [one.name, one]));
  if (byName.size < placed.length)
    throw new OpabiniaError(`two tensors of ${where} have one name in the model`, { op: 'gguf' });
  const stored = new Map(
    placed.map(({ name, shape, tensor: { type, start, bytes } }): [string, StoredTensor] => {
      const count = shape.reduce((product, size) => product * size, 1);
      return type.kind === 'plain'
        ? [name, { name, shape, dtype: type.dtype, start, bytes }]
        : [name, { name, shape, dtype: 'F32', start, bytes: count * 4, packed: { as: type.format.name, bytes } }];
    }),
  );
  const find = (name: string): PlacedTensor => {
    const found = byName.get(name);
    if (found !== undefined) return found;
    throw new OpabiniaError(`${where} has no tensor for '${name}'`, {
      op: 'gguf',
      advice: `the nearest names are ${nearestNames(name, byName.keys())
        .map((near) => oneLine(near))
        .join(', ')}`,
    });
  };
  const checked = (name: string, shape: readonly number[]): PlacedTensor => {
    const found = find(name);
    if (found.shape.join() === shape.join()) return found;
    throw new OpabiniaError(
      `'${name}' is ${found.shape.join('×')} in ${found.tensor.path}, but ${shape.join('×')} was asked for`,
      { op: 'gguf', path: name, advice: 'the file may hold another model than its settings say' },
    );
  };
  const values = ({ file, tensor, shape, pairedHeads }: PlacedTensor, start: number, count: number): Float32Array => {
    const rows = shape[0] ?? 1;
    if (pairedHeads === undefined) return readValues(file, tensor, start, count);
    const wide = shape.slice(1).reduce((product, size) => product * size, 1);
    const into = new Float32Array(count);
    for (let at = 0; at < count;) {
      const [row, column] = [Math.floor((start + at) / wide), (start + at) % wide];
      const length = Math.min(wide - column, count - at);
      into.set(readValues(file, tensor, pairedRow(row, rows, pairedHeads) * wide + column, length), at);
      at += length;
    }
    return into;
  };
  const whole = (one: PlacedTensor): Float32Array =>
    values(
      one,
      0,
      one.shape.reduce((product, size) => product * size, 1),
    );
  return {
    dtype: options.dtype,
    metadata: new Map(),
    stored,
    files: [...new Set(placed.flatMap(({ file }) => file.files))],
    places: new Map(placed.map(({ name, tensor }) => [name, tensor.path])),
    absent: [],
    shape: (name) => byName.get(name)?.shape,
    names: () => byName.keys(),
    storedAs: (name) => {
      const type = byName.get(name)?.tensor.type;
      return type?.kind === 'plain' ? graphDTypes[type.dtype] : undefined;
    },
    blocks(name) {
      const found = byName.get(name);
      if (found?.tensor.type.kind !== 'blocks' || found.shape.length !== 2) return undefined;
      return { format: found.tensor.type.format, read: (first, count) => rowBlocks(found, first, count) };
    },
    read: (name, shape) => whole(checked(name, shape)),
    part: (name, shape, start, count) => values(checked(name, shape), start, count),
    storedPart: (name, shape, dtype: DType, start, count) => {
      const { file, tensor, pairedHeads } = checked(name, shape);
      if (tensor.type.kind !== 'plain' || pairedHeads !== undefined || graphDTypes[tensor.type.dtype] !== dtype)
        return undefined;
      const width = storedBytes[tensor.type.dtype];
      const bytes = new Uint8Array(count * width);
      file.readInto(tensor, bytes, start * width);
      return bytes;
    },
    tensor: (name) => whole(find(name)),
    readInto(name, target, offset = 0) {
      const { buffer } = whole(find(name));
      target.set(new Uint8Array(buffer, offset, target.byteLength));
    },
    close: options.close,
  };
}

const graphDTypes = { F32: 'f32', F16: 'f16', BF16: 'bf16' } as const satisfies Record<string, DType>;
