// One GGUF file. A library parses the header; whatever it says is held against the size of the file before anything is allocated.
import { closeSync, fstatSync, readSync } from 'node:fs';
import { gguf, type MetadataValue } from '@huggingface/gguf';
import { OpabiniaError } from '../../dsl/error.ts';
import { oneLine } from '../../dsl/text/one-line.ts';
import { openRegular } from '../files/regular-file.ts';
import { headerTexts } from './gguf-texts.ts';
import { ggufType, ggufTypeName, readableTypes, type GgufType } from './gguf-types.ts';

export interface GgufTensor {
  readonly name: string;
  /** The file that has it. */
  readonly path: string;
  /** Row-major: the file has the fastest axis first. */
  readonly shape: readonly number[];
  readonly type: GgufType;
  /** First byte and length in the file. */
  readonly start: number;
  readonly bytes: number;
}

export interface GgufFile {
  /** Of the first file. */
  readonly path: string;
  /** One, or the parts of a model that was split. */
  readonly files: readonly string[];
  readonly settings: ReadonlyMap<string, MetadataValue>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  /** Fills `target` from byte `offset` of the tensor on. Throws `OpabiniaError` when the file is shorter than it was. */
  readInto(tensor: GgufTensor, target: Uint8Array, offset?: number): void;
  close(): void;
}

/** Behind magic, version, number of tensors and number of settings. */
const firstSetting = 24;
/** Axes of a tensor, and its least description in the header: name, axes, one size, type, offset. */
const maxRank = 4;
const leastTensor = 8 + 4 + 8 + 4 + 8;
/** A key, a type, a byte. */
const leastSetting = 8 + 4 + 1;
const maxNames = 200_000;

export class GgufError extends OpabiniaError {
  constructor(
    path: string,
    what: string,
    advice = 'the file is damaged or made to mislead; get it again from its source',
  ) {
    super(`${path} ${what}`, { op: 'gguf', advice });
    this.name = 'GgufError';
  }
}

/**
 * Opens a file and checks its header completely. Throws `GgufError`; nothing stays open then.
 * @example const file = await openGguf('model.gguf')
 */
export async function openGguf(path: string): Promise<GgufFile> {
  const descriptor = openRegular(path, 'gguf');
  let open = true;
  try {
    const size = fstatSync(descriptor).size;
    const count = checkStart(path, descriptor, size);
    const { settings, tensors } = await readHeader(path, descriptor, size, count);
    return {
      path,
      files: [path],
      settings,
      tensors,
      readInto(tensor, target, offset = 0) {
        if (offset < 0 || offset + target.byteLength > tensor.bytes)
          throw new GgufError(path, `has ${tensor.bytes} bytes of '${oneLine(tensor.name)}', and more were asked for`);
        readFully(path, descriptor, target, tensor.start + offset);
      },
      close: () => {
        if (open) closeSync(descriptor);
        open = false;
      },
    };
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

function readFully(path: string, descriptor: number, target: Uint8Array, start: number): void {
  for (let done = 0; done < target.byteLength;) {
    const got = readSync(descriptor, target, done, Math.min(target.byteLength - done, 1 << 30), start + done);
    if (got === 0) throw new GgufError(path, 'ended while it was read', 'do not write to a file that is in use');
    done += got;
  }
}

/** The number of settings. Magic, version and counts are checked before the library allocates by them. */
function checkStart(path: string, descriptor: number, size: number): number {
  const first = Buffer.alloc(firstSetting);
  const got = readSync(descriptor, first, 0, firstSetting, 0);
  if (first.toString('latin1', 0, 4) !== 'GGUF')
    throw new GgufError(path, 'is not a GGUF file', 'give a .gguf file, or a model directory');
  if (got < firstSetting) throw new GgufError(path, `has ${got} bytes, and the header alone has more`);
  const version = first.readUInt32LE(4);
  if (version !== 2 && version !== 3)
    throw new GgufError(
      path,
      (version & 0xffff) === 0
        ? 'is a big-endian GGUF file'
        : `is of version ${version} of GGUF; versions 2 and 3 are read`,
      'convert it again with a current llama.cpp',
    );
  const [tensors, settings] = [first.readBigUInt64LE(8), first.readBigUInt64LE(16)];
  const room = BigInt(size - firstSetting);
  if (tensors > BigInt(maxNames) || tensors * BigInt(leastTensor) + settings * BigInt(leastSetting) > room)
    throw new GgufError(
      path,
      `says that it has ${tensors} tensors and ${settings} settings, which ${size} bytes have no room for`,
    );
  return Number(settings);
}

async function readHeader(
  path: string,
  descriptor: number,
  size: number,
  count: number,
): Promise<Pick<GgufFile, 'settings' | 'tensors'>> {
  const parsed = await gguf(path, { allowLocalFile: true }).catch((cause: unknown) => {
    throw new GgufError(
      path,
      `has a header that cannot be read: ${cause instanceof Error ? cause.message.slice(0, 200) : String(cause)}`,
    );
  });
  // Beyond the end of the file the library reads zeros.
  if (parsed.tensorInfoByteRange[1] > size)
    throw new GgufError(path, `ends inside of its header, after ${size} bytes`, 'the download may be incomplete');
  const settings = new Map<string, MetadataValue>(Object.entries(parsed.metadata));
  const seen = new Set<string>();
  const metadata = Buffer.alloc(parsed.tensorInfoByteRange[0] - firstSetting);
  readFully(path, descriptor, metadata, firstSetting);
  for (const [key, text] of headerTexts(metadata, count)) {
    if (seen.has(key)) throw new GgufError(path, `has the setting '${oneLine(key)}' twice`);
    seen.add(key);
    if (text !== undefined) settings.set(key, text);
  }
  const alignment = settings.get('general.alignment') ?? 32;
  const unit = Number(alignment);
  if (!Number.isInteger(unit) || unit <= 0 || (unit & (unit - 1)) !== 0 || unit > 2 ** 20)
    throw new GgufError(path, `is aligned to ${String(alignment)} bytes, which is not a power of two`);
  const start = Number(parsed.tensorDataOffset);
  const tensors = new Map<string, GgufTensor>();
  for (const { name, shape, dtype, offset } of parsed.tensorInfos) {
    if (tensors.has(name)) throw new GgufError(path, `has '${oneLine(name)}' twice`);
    tensors.set(name, checkedTensor(path, size, start, unit, { name, shape, dtype, offset }));
  }
  return { settings, tensors };
}

function checkedTensor(
  path: string,
  size: number,
  dataStart: number,
  alignment: number,
  {
    name,
    shape: reversed,
    dtype,
    offset,
  }: {
    readonly name: string;
    readonly shape: readonly bigint[];
    readonly dtype: number;
    readonly offset: bigint;
  },
): GgufTensor {
  const refuse = (what: string, advice?: string) =>
    new GgufError(path, `has the tensor '${oneLine(name)}' ${what}`, advice);
  const type = ggufType(dtype);
  if (type === undefined)
    throw refuse(
      `as ${ggufTypeName(dtype)}, which is not read`,
      `take a file whose weights are ${readableTypes.join(', ')}`,
    );
  if (reversed.length > maxRank) throw refuse(`with ${reversed.length} axes; at most ${maxRank} are accepted`);
  const elements = reversed.reduce((product, one) => product * one, 1n);
  const { block, bytes } = type.kind === 'blocks' ? type.format : { block: 1, bytes: type.dtype === 'F32' ? 4 : 2 };
  if ((reversed[0] ?? 1n) % BigInt(block) !== 0n)
    throw refuse(`with rows of ${reversed[0]} elements, which is not a multiple of the block of ${block}`);
  const length = (elements / BigInt(block)) * BigInt(bytes);
  if (offset % BigInt(alignment) !== 0n) throw refuse(`at ${offset}, which is not a multiple of ${alignment}`);
  if (BigInt(dataStart) + offset + length > BigInt(size))
    throw refuse(
      `end at byte ${BigInt(dataStart) + offset + length}, and the file has ${size}`,
      'the download may be incomplete; get it again',
    );
  return {
    name,
    path,
    type,
    shape: reversed.map(Number).reverse(),
    start: dataStart + Number(offset),
    bytes: Number(length),
  };
}
