// A checkpoint on disk as a source of parameters: one file of safetensors or of PyTorch, a sharded one with its index, or the directory
// that holds either.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { nearestNames, OpabiniaError } from '../../dsl/error.ts';
import { requirePath } from '../../dsl/graph/required.ts';
import type { DType, FloatSource } from '../../dsl/index.ts';
import { parseStrict, type Json } from './json.ts';
import { readRegular, statOf } from '../files/regular-file.ts';
import { leadsOut } from './links.ts';
import { openPytorchFile } from './pytorch/pytorch-file.ts';
import {
  openSafetensors,
  storedBytes,
  type TensorFile,
  type SafetensorsOptions,
  type StoredDType,
  type StoredTensor,
} from './safetensors.ts';
import { decodeAsF32, decodeStored, type StoredArray } from './stored-values.ts';
import type { BlockRows } from './packed/block-rows.ts';

export interface CheckpointOptions extends SafetensorsOptions {
  /** Dtype that parameters have in a graph; by default f32. */
  readonly dtype?: 'f32' | 'f16';
  /** Put before every path of the model: a model traced without a prefix then reads `${prefix}name`. */
  readonly prefix?: string;
}

export interface Checkpoint extends FloatSource {
  /** `__metadata__` of the file; of a sharded checkpoint, of its first shard. */
  readonly metadata: ReadonlyMap<string, string>;
  /** Everything that is stored, by the name in the file (without the prefix rule). */
  readonly stored: ReadonlyMap<string, StoredTensor>;
  /** The files that hold tensors. */
  readonly files: readonly string[];
  /** Which of them each tensor is read from. */
  readonly places: ReadonlyMap<string, string>;
  /** Names of an index that no shard has. */
  readonly absent: readonly string[];
  /** The values of one tensor, in the narrowest array that holds them exactly. */
  tensor(name: string): StoredArray;
  /** `count` values of a tensor from element `start` on: for tensors that are too large to be held twice. */
  part(path: string, shape: readonly number[], start: number, count: number): Float32Array;
  /** The same as they are stored; undefined when the tensor has another dtype. */
  storedPart(
    path: string,
    shape: readonly number[],
    dtype: DType,
    start: number,
    count: number,
  ): Uint8Array | undefined;
  /** The blocks of a matrix that is stored quantized, by rows; absent where none is. */
  readonly blocks?: ((path: string) => BlockRows | undefined) | undefined;
  /** Raw bytes of one tensor, from byte `offset` of it: for weights that are streamed. */
  readInto(name: string, target: Uint8Array, offset?: number): void;
  close(): void;
}

/** Bytes of one tensor as a whole; a sparse file may claim any number. */
const wholeLimit = 2 ** 32;
const indexLimit = 25_000_000;
const maxNames = 200_000;
const shardName = /^[\w.-]+\.(?:safetensors|bin|pt|pth)$/;
/** In order of preference: safetensors first, where a directory has both. */
const weightNames = [
  'model.safetensors',
  'model.safetensors.index.json',
  'pytorch_model.bin',
  'pytorch_model.bin.index.json',
];

/**
 * Opens `path`: `x.safetensors`, PyTorch's `x.bin`, the `….index.json` of shards of either, or a directory. Every header and the index are checked before a
 * single value is read. Throws `OpabiniaError`.
 * @example const params = openCheckpoint('connector.safetensors')
 */
export function openCheckpoint(path: string, options: CheckpointOptions = {}): Checkpoint {
  requirePath('openCheckpoint', path, 'the checkpoint', "openCheckpoint('model.safetensors')");
  const file = resolveFile(path);
  if (file.endsWith('.json')) return openSharded(file, options);
  const single = openTensors(file, options);
  return checkpoint(
    file,
    single.metadata,
    new Map([...single.tensors.keys()].map((name) => [name, single])),
    [single],
    options,
    [],
  );
}

function resolveFile(path: string): string {
  const found = statOf(path, 'openCheckpoint');
  if (found === undefined)
    throw new OpabiniaError(`'${path}' does not exist`, { op: 'openCheckpoint', advice: 'check the path' });
  if (!found.isDirectory()) return path;
  const chosen = weightNames.map((name) => join(path, name)).find((candidate) => existsSync(candidate));
  if (chosen !== undefined) return chosen;
  throw new OpabiniaError(`'${path}' holds none of ${weightNames.join(', ')}`, {
    op: 'openCheckpoint',
    advice: 'give a Hugging Face model directory, a .safetensors file, or a .bin file of PyTorch',
  });
}

function openTensors(path: string, options: SafetensorsOptions): TensorFile {
  return /\.(?:bin|pt|pth)$/.test(path) ? openPytorchFile(path) : openSafetensors(path, options);
}

function openSharded(path: string, options: CheckpointOptions): Checkpoint {
  const shardOf = readIndex(path);
  const opened = new Map<string, TensorFile>();
  try {
    for (const shard of new Set(shardOf.values())) opened.set(shard, openTensors(shardPath(path, shard), options));
    const fileOf = filesByName(path, opened, shardOf);
    const files = [...opened.values()];
    const absent = [...shardOf.keys()].filter((name) => !fileOf.has(name));
    return checkpoint(path, files[0]?.metadata ?? new Map(), fileOf, files, options, absent);
  } catch (error) {
    for (const file of opened.values()) file.close();
    throw error;
  }
}

/**
 * Where each tensor is. The shards say what they hold; the index only decides where two of them hold one name. Released indices name
 * tensors that no shard has (tied heads, buffers), leave out others, and add up to another total: what is needed and missing is told
 * when it is read.
 */
function filesByName(
  path: string,
  opened: ReadonlyMap<string, TensorFile>,
  shardOf: ReadonlyMap<string, string>,
): ReadonlyMap<string, TensorFile> {
  const fileOf = new Map<string, TensorFile>();
  for (const [shard, file] of opened) {
    for (const name of file.tensors.keys()) {
      const named = shardOf.get(name);
      if (fileOf.has(name) && (named === undefined || opened.get(named)?.tensors.has(name) !== true))
        throw refuseIndex(path, `does not say which of its shards '${name}' is read from; more than one has it`);
      if (!fileOf.has(name) || named === shard) fileOf.set(name, file);
    }
  }
  return fileOf;
}

function refuseIndex(path: string, what: string): OpabiniaError {
  return new OpabiniaError(`${path} ${what}`, {
    op: 'openCheckpoint',
    advice: 'the index and its shards do not belong together; get all of them again from one revision',
  });
}

/** The shard of each tensor, as the index has it. */
function readIndex(path: string): ReadonlyMap<string, string> {
  const bytes = readRegular(path, indexLimit, 'openCheckpoint');
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw refuseIndex(path, 'is not valid UTF-8');
  }
  const root = parseStrict(text.trimEnd(), { depth: 4, what: path });
  const map = root instanceof Map ? (root as ReadonlyMap<string, Json>).get('weight_map') : undefined;
  if (!(root instanceof Map) || !(map instanceof Map)) throw refuseIndex(path, 'has no weight_map');
  const shardOf = new Map<string, string>();
  for (const [name, shard] of map as ReadonlyMap<string, Json>) {
    if (typeof shard !== 'string' || !shardName.test(shard) || shard.includes('..'))
      throw refuseIndex(
        path,
        `puts '${name.slice(0, 200)}' into ${JSON.stringify(shard).slice(0, 80)}, which is not a shard name`,
      );
    shardOf.set(name, shard);
  }
  if (shardOf.size === 0) throw refuseIndex(path, 'names no tensor');
  if (shardOf.size > maxNames)
    throw refuseIndex(path, `names ${shardOf.size} tensors; at most ${maxNames} are accepted`);
  return shardOf;
}

/** A shard stays in its directory, or in the cache that this is in. */
function shardPath(index: string, shard: string): string {
  const directory = dirname(index);
  const path = join(directory, shard);
  if (!existsSync(path)) throw refuseIndex(index, `names the shard ${shard}, which is missing`);
  if (leadsOut(directory, path))
    throw refuseIndex(index, `names the shard ${shard}, a link that leads out of its directory`);
  return path;
}

/** The dtype of the graph with the same bits. */
function graphDType(dtype: StoredDType | undefined): DType | undefined {
  return dtype === 'F16' ? 'f16' : dtype === 'BF16' ? 'bf16' : dtype === 'F32' ? 'f32' : undefined;
}

function checkpoint(
  path: string,
  metadata: ReadonlyMap<string, string>,
  fileOf: ReadonlyMap<string, TensorFile>,
  files: readonly TensorFile[],
  options: CheckpointOptions,
  absent: readonly string[],
): Checkpoint {
  const prefix = options.prefix ?? '';
  const stored = new Map<string, StoredTensor>();
  for (const [name, file] of fileOf) {
    const tensor = file.tensors.get(name);
    if (tensor !== undefined) stored.set(name, tensor);
  }
  const find = (name: string): { readonly file: TensorFile; readonly tensor: StoredTensor } => {
    const [file, tensor] = [fileOf.get(name), stored.get(name)];
    if (file !== undefined && tensor !== undefined) return { file, tensor };
    throw new OpabiniaError(`${path} has no tensor '${name}'`, {
      op: 'checkpoint',
      advice: `the nearest names are ${nearestNames(name, stored.keys()).join(', ')}`,
    });
  };
  const bytesOf = (name: string): { readonly bytes: Uint8Array; readonly tensor: StoredTensor } => {
    const { file, tensor } = find(name);
    if (tensor.bytes > wholeLimit)
      throw new OpabiniaError(
        `'${name}' of ${path} has ${tensor.bytes} bytes; at most ${wholeLimit} are read at once`,
        {
          op: 'checkpoint',
          advice: 'read it in parts (`part`), or split it where it is written',
        },
      );
    const bytes = new Uint8Array(tensor.bytes);
    file.readInto(name, bytes);
    return { bytes, tensor };
  };
  const checkShape = (name: string, shape: readonly number[]): StoredTensor => {
    const { tensor } = find(prefix + name);
    if (tensor.shape.join() === shape.join()) return tensor;
    throw new OpabiniaError(
      `'${prefix + name}' is ${tensor.shape.join('×') || 'a scalar'} in ${path}, but ${shape.join('×') || 'a scalar'} was asked for`,
      { op: 'checkpoint', path: name, advice: 'the checkpoint and the config may belong to different models' },
    );
  };
  const rangeOf = (name: string, dtype: StoredDType, start: number, count: number): Uint8Array => {
    const bytes = new Uint8Array(count * storedBytes[dtype]);
    find(name).file.readInto(name, bytes, start * storedBytes[dtype]);
    return bytes;
  };
  return {
    dtype: options.dtype ?? 'f32',
    metadata,
    stored,
    files: files.map((file) => file.path),
    places: new Map([...fileOf].map(([name, file]) => [name, file.path])),
    absent,
    shape: (name) => stored.get(prefix + name)?.shape,
    storedAs: (name) => graphDType(stored.get(prefix + name)?.dtype),
    names: () => [...stored.keys()].filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)),
    read(name, shape) {
      checkShape(name, shape);
      const { bytes, tensor } = bytesOf(prefix + name);
      return decodeAsF32(tensor.dtype, bytes);
    },
    part(name, shape, start, count) {
      const { dtype } = checkShape(name, shape);
      return decodeAsF32(dtype, rangeOf(prefix + name, dtype, start, count));
    },
    storedPart(name, shape, wanted, start, count) {
      const { dtype } = checkShape(name, shape);
      return (wanted === 'f32' && dtype === 'F32') || (wanted === 'f16' && dtype === 'F16')
        ? rangeOf(prefix + name, dtype, start, count)
        : undefined;
    },
    tensor(name) {
      const { bytes, tensor } = bytesOf(name);
      return decodeStored(tensor.dtype, bytes);
    },
    readInto: (name, target, offset) => find(name).file.readInto(name, target, offset),
    close: () => {
      for (const file of files) file.close();
    },
  };
}
