// One safetensors file: the header is checked completely before any tensor is allocated or read; reads go through one descriptor.
import { closeSync, constants, fstatSync, openSync, readSync } from 'node:fs';
import { OpabiniaError } from '../../dsl/error.ts';
import { oneLine } from '../../dsl/text/one-line.ts';
import { parseStrict, type Json } from './json.ts';
import { readFully } from '../files/read-fully.ts';

/** Element types as the format spells them. */
export type StoredDType = 'F64' | 'F32' | 'F16' | 'BF16' | 'I64' | 'I32' | 'U32' | 'U8' | 'BOOL';

export const storedBytes = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  U32: 4,
  U8: 1,
  BOOL: 1,
} as const satisfies Record<StoredDType, number>;

/** In the format, but without a meaning here yet. */
const unsupported: readonly string[] = [
  'F4',
  'F6_E2M3',
  'F6_E3M2',
  'F8_E5M2',
  'F8_E4M3',
  'F8_E8M0',
  'I8',
  'I16',
  'U16',
  'U64',
  'C64',
];

export interface StoredTensor {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  /** First byte and length in the file. */
  readonly start: number;
  readonly bytes: number;
  /** How the file has it and in how many bytes, where its values are decoded and the above is what comes of that. */
  readonly packed?: { readonly as: string; readonly bytes: number } | undefined;
}

export interface SafetensorsOptions {
  /** Largest header accepted, in bytes; at most 100,000,000, by default 25,000,000. */
  readonly headerLimit?: number;
}

/** A file of tensors by name, whatever its format. */
export interface TensorFile {
  readonly path: string;
  readonly metadata: ReadonlyMap<string, string>;
  readonly tensors: ReadonlyMap<string, StoredTensor>;
  /** Fills `target` from the tensor's bytes, starting `offset` bytes into it. Throws when the file changed or is shorter than it was. */
  readInto(name: string, target: Uint8Array, offset?: number): void;
  close(): void;
}

const defaultHeaderLimit = 25_000_000;
const hardHeaderLimit = 100_000_000;
const maxTensors = 200_000;
const maxRank = 8;

export class SafetensorsError extends OpabiniaError {
  constructor(
    file: string,
    what: string,
    advice = 'the file is damaged or made to mislead; get it again from its source',
  ) {
    super(`${file}: ${what}`, { op: 'safetensors', advice });
    this.name = 'SafetensorsError';
  }
}

/**
 * Opens a file and validates its header: the rules of the format's own Rust reader, stricter where JavaScript readers go wrong.
 * Throws `SafetensorsError`; nothing stays open then.
 * @example const { tensors } = openSafetensors('connector.safetensors')
 */
export function openSafetensors(path: string, options: SafetensorsOptions = {}): TensorFile {
  const descriptor = openFile(path);
  try {
    const size = fstatSync(descriptor).size;
    const { header, dataStart } = readHeader(
      path,
      descriptor,
      size,
      Math.min(options.headerLimit ?? defaultHeaderLimit, hardHeaderLimit),
    );
    const { metadata, tensors } = checkHeader(path, header, dataStart, size);
    sameSize(path, descriptor, size);
    return {
      path,
      metadata,
      tensors,
      readInto: (name, target, offset = 0) => readRange(path, descriptor, size, tensors, name, target, offset),
      close: () => closeSync(descriptor),
    };
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

function openFile(path: string): number {
  try {
    // Without O_NONBLOCK, opening a pipe would wait for a writer.
    const descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    if (fstatSync(descriptor).isFile()) return descriptor;
    closeSync(descriptor);
  } catch (cause) {
    throw new SafetensorsError(
      path,
      `cannot be opened: ${cause instanceof Error ? cause.message : String(cause)}`,
      'check the path',
    );
  }
  throw new SafetensorsError(path, 'is not a regular file', 'give the path of a .safetensors file');
}

function readHeader(
  path: string,
  descriptor: number,
  size: number,
  limit: number,
): { readonly header: string; readonly dataStart: number } {
  const first = Buffer.alloc(8);
  const got = readSync(descriptor, first, 0, 8, 0);
  refuseOtherFormats(path, first.subarray(0, got));
  if (got < 8)
    throw new SafetensorsError(
      path,
      `has ${got} bytes; a safetensors file begins with the 8-byte length of its header`,
    );
  // As BigInt: lengths above 2^53 must not round to something that passes.
  const length = first.readBigUInt64LE(0);
  if (length > BigInt(limit))
    throw new SafetensorsError(
      path,
      `says its header has ${length} bytes; at most ${limit} are accepted`,
      'if the file is to be trusted, raise headerLimit (up to 100,000,000)',
    );
  if (length + 8n > BigInt(size))
    throw new SafetensorsError(
      path,
      `says its header has ${length} bytes, but the file has ${size}`,
      'the download may be incomplete; get it again',
    );
  const bytes = Buffer.alloc(Number(length));
  readFully(descriptor, bytes, 8, (what, advice) => new SafetensorsError(path, what, advice));
  if (bytes[0] !== 0x7b) throw new SafetensorsError(path, "has a header that does not begin with '{'");
  try {
    return {
      header: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes),
      dataStart: 8 + Number(length),
    };
  } catch {
    throw new SafetensorsError(path, 'has a header that is not valid UTF-8');
  }
}

function refuseOtherFormats(path: string, first: Buffer): void {
  const advice = 'convert it to safetensors in the environment it came from, e.g. with safetensors.torch.save_file';
  const text = first.toString('latin1');
  if (text.startsWith('GGUF')) throw new SafetensorsError(path, 'is a GGUF file, not safetensors', advice);
  if (text.startsWith('PK\x03\x04'))
    throw new SafetensorsError(path, 'is a zip archive, as PyTorch writes .bin and .pt files, not safetensors', advice);
  if (first[0] === 0x80 && (first[1] ?? 255) <= 5 && first[7] !== 0)
    throw new SafetensorsError(path, 'is a pickle, not safetensors: a pickle can run code and is never read', advice);
}

function checkHeader(
  path: string,
  header: string,
  dataStart: number,
  size: number,
): Pick<TensorFile, 'metadata' | 'tensors'> {
  let parsed: Json;
  try {
    parsed = parseStrict(header, { depth: 4, what: 'header' });
  } catch (cause) {
    throw new SafetensorsError(
      path,
      cause instanceof OpabiniaError ? (cause.message.split('\n')[0] ?? '') : String(cause),
    );
  }
  if (!(parsed instanceof Map)) throw new SafetensorsError(path, 'has a header that is not an object');
  const metadata = new Map<string, string>();
  const tensors: StoredTensor[] = [];
  for (const [name, entry] of parsed as ReadonlyMap<string, Json>) {
    if (name === '__metadata__') readMetadata(path, entry, metadata);
    else tensors.push(readEntry(path, name, entry, dataStart));
    if (tensors.length > maxTensors) throw new SafetensorsError(path, `names more than ${maxTensors} tensors`);
  }
  checkLayout(path, tensors, dataStart, size);
  return { metadata, tensors: new Map(tensors.map((tensor) => [tensor.name, tensor])) };
}

function readMetadata(path: string, entry: Json, into: Map<string, string>): void {
  if (!(entry instanceof Map)) throw new SafetensorsError(path, '__metadata__ is not an object');
  for (const [key, value] of entry as ReadonlyMap<string, Json>) {
    if (typeof value !== 'string')
      throw new SafetensorsError(path, `__metadata__ '${key.slice(0, 80)}' is not a string`);
    into.set(key, value);
  }
}

const isCount = (value: Json | undefined): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && !Object.is(value, -0);

function readEntry(path: string, name: string, entry: Json, dataStart: number): StoredTensor {
  const refuse = (what: string, advice?: string) =>
    new SafetensorsError(path, `tensor '${oneLine(name)}' ${what}`, advice);
  if (!(entry instanceof Map)) throw refuse('is not described by an object');
  const fields = entry as ReadonlyMap<string, Json>;
  const extra = [...fields.keys()].find((key) => key !== 'dtype' && key !== 'shape' && key !== 'data_offsets');
  if (extra !== undefined) throw refuse(`has the unknown field '${extra.slice(0, 80)}'`);

  const dtype = fields.get('dtype');
  if (typeof dtype !== 'string') throw refuse('has no dtype');
  if (unsupported.includes(dtype))
    throw refuse(
      `is stored as ${dtype}, which is not supported`,
      `convert it to one of ${Object.keys(storedBytes).join(' ')}`,
    );
  if (!isStoredDType(dtype)) throw refuse(`has the unknown dtype '${dtype.slice(0, 40)}'`);

  const shape = fields.get('shape');
  if (!Array.isArray(shape) || !shape.every(isCount)) throw refuse('has a shape that is not a list of whole numbers');
  if (shape.length > maxRank) throw refuse(`has ${shape.length} axes; at most ${maxRank} are accepted`);
  const bytes = checkedProduct(shape, storedBytes[dtype]);
  if (bytes === undefined) throw refuse(`has more elements than can be counted: ${shape.join('×')}`);

  const offsets = fields.get('data_offsets');
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
    throw refuse('has data_offsets that are not two whole numbers');
  const [begin = 0, end = 0] = offsets;
  if (begin > end) throw refuse(`ends at ${end} before it begins at ${begin}`);
  if (end - begin !== bytes)
    throw refuse(`is ${dtype} ${shape.join('×') || 'scalar'}, ${bytes} bytes, but has ${end - begin}`);
  if (!Number.isSafeInteger(dataStart + end)) throw refuse(`ends beyond any file, at ${end}`);
  return { name, dtype, shape, start: dataStart + begin, bytes };
}

export function isStoredDType(dtype: string): dtype is StoredDType {
  return Object.hasOwn(storedBytes, dtype);
}

/** The product in exact arithmetic, or undefined above 2^53-1. The product of the other axes counts even where one axis is 0. */
function checkedProduct(shape: readonly number[], unit: number): number | undefined {
  const full = shape.filter((size) => size !== 0).reduce((product, size) => product * BigInt(size), BigInt(unit));
  if (full > BigInt(Number.MAX_SAFE_INTEGER)) return undefined;
  return shape.includes(0) ? 0 : Number(full);
}

/** The tensors cover the rest of the file: no hole, no overlap, nothing after the last. */
function checkLayout(path: string, tensors: readonly StoredTensor[], dataStart: number, size: number): void {
  let end = dataStart;
  for (const tensor of [...tensors].sort((a, b) => a.start - b.start || a.bytes - b.bytes)) {
    if (tensor.start !== end) {
      throw new SafetensorsError(
        path,
        `tensor '${oneLine(tensor.name)}' begins at ${tensor.start - dataStart}, ${tensor.start < end ? 'inside the one before it' : 'after a hole'}: ${end - dataStart} was expected`,
      );
    }
    end += tensor.bytes;
  }
  if (end !== size)
    throw new SafetensorsError(
      path,
      `${end > size ? 'is shorter' : 'is longer'} than its tensors: ${size} bytes instead of ${end}`,
      'the download may be incomplete; get it again',
    );
}

function sameSize(path: string, descriptor: number, size: number): void {
  const now = fstatSync(descriptor).size;
  if (now !== size)
    throw new SafetensorsError(
      path,
      `changed while it was open: ${size} bytes before, ${now} now`,
      'do not write to a checkpoint that is in use',
    );
}

function readRange(
  path: string,
  descriptor: number,
  size: number,
  tensors: ReadonlyMap<string, StoredTensor>,
  name: string,
  target: Uint8Array,
  offset: number,
): void {
  const tensor = tensors.get(name);
  if (tensor === undefined) throw new SafetensorsError(path, `has no tensor '${name}'`, 'look at the names it has');
  if (!Number.isSafeInteger(offset) || offset < 0 || offset + target.byteLength > tensor.bytes) {
    throw new SafetensorsError(
      path,
      `bytes ${offset} to ${offset + target.byteLength} of '${name}' were asked for, but it has ${tensor.bytes}`,
      'ask for a range inside the tensor',
    );
  }
  sameSize(path, descriptor, size);
  readFully(descriptor, target, tensor.start + offset, (what, advice) => new SafetensorsError(path, what, advice));
}
