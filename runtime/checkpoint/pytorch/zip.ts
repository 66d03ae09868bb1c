// The directory of a zip archive whose entries are stored as they are, which is how PyTorch writes them so that they can be mapped.
import { readSync } from 'node:fs';

/** Bytes of an entry in the archive's file. */
export interface ZipEntry {
  readonly name: string;
  readonly start: number;
  readonly bytes: number;
}

/** Thrown with what is wrong; the caller knows the file's name. */
export class ZipError extends Error {}

const mostEntries = 1_000_000;
const mostDirectory = 256 * 2 ** 20;
const endRecord = 0x06054b50;
const end64Locator = 0x07064b50;
const end64Record = 0x06064b50;
const directoryRecord = 0x02014b50;
const localRecord = 0x04034b50;

/** Every entry by name (APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16). Throws `ZipError`. */
export function readZipDirectory(descriptor: number, size: number): ReadonlyMap<string, ZipEntry> {
  const { count, start, bytes } = findDirectory(descriptor, size);
  if (count > mostEntries) throw new ZipError(`lists ${count} entries; at most ${mostEntries} are accepted`);
  if (bytes > mostDirectory)
    throw new ZipError(`has a directory of ${bytes} bytes; at most ${mostDirectory} are accepted`);
  if (start + bytes > size || bytes < 46 * count) throw new ZipError('has a directory that does not fit into it');
  const directory = read(descriptor, start, bytes);
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > bytes || directory.readUInt32LE(at) !== directoryRecord) throw new ZipError('has a broken directory');
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((field) => directory.readUInt16LE(at + field));
    const next = at + 46 + (nameBytes ?? 0) + (extraBytes ?? 0) + (commentBytes ?? 0);
    if (next > bytes) throw new ZipError('has a broken directory');
    const name = directory.toString('utf8', at + 46, at + 46 + (nameBytes ?? 0));
    const [flags, method] = [directory.readUInt16LE(at + 8), directory.readUInt16LE(at + 10)];
    const extra = directory.subarray(at + 46 + (nameBytes ?? 0), next - (commentBytes ?? 0));
    const sizes = [at + 24, at + 20, at + 42].map((field) => directory.readUInt32LE(field));
    const [plain = 0, packed = 0, offset = 0] = wide(sizes, extra);
    if ((flags & 1) !== 0) throw new ZipError(`has the encrypted entry '${name.slice(0, 80)}'`);
    if (method !== 0 || plain !== packed) throw new ZipError(`has the compressed entry '${name.slice(0, 80)}'`);
    if (entries.has(name)) throw new ZipError(`has two entries '${name.slice(0, 80)}'`);
    const from = dataStart(descriptor, size, offset);
    if (from + plain > size) throw new ZipError(`ends before its entry '${name.slice(0, 80)}' does`);
    entries.set(name, { name, start: from, bytes: plain });
    at = next;
  }
  return entries;
}

function findDirectory(
  descriptor: number,
  size: number,
): { readonly count: number; readonly start: number; readonly bytes: number } {
  // A comment of up to 65,535 bytes may stand behind the record.
  const tail = read(descriptor, Math.max(0, size - 65_557), Math.min(size, 65_557));
  for (let at = tail.length - 22; at >= 0; at--) {
    if (tail.readUInt32LE(at) !== endRecord) continue;
    const [count, bytes, start] = [tail.readUInt16LE(at + 10), tail.readUInt32LE(at + 12), tail.readUInt32LE(at + 16)];
    if (count !== 0xffff && bytes !== 0xffffffff && start !== 0xffffffff) return { count, bytes, start };
    if (at < 20 || tail.readUInt32LE(at - 20) !== end64Locator) throw new ZipError('has a broken end');
    const place = whole(tail.readBigUInt64LE(at - 12));
    if (place + 56 > size) throw new ZipError('has a broken end');
    const record = read(descriptor, place, 56);
    if (record.readUInt32LE(0) !== end64Record) throw new ZipError('has a broken end');
    const [many, long, first] = [32, 40, 48].map((field) => whole(record.readBigUInt64LE(field)));
    return { count: many ?? 0, bytes: long ?? 0, start: first ?? 0 };
  }
  throw new ZipError('is not a whole zip archive');
}

/** Sizes and offset, where the 32-bit ones say that the 64-bit ones count. */
function wide(sizes: readonly number[], extra: Buffer): readonly number[] {
  let fields: Buffer | undefined;
  for (let at = 0; at + 4 <= extra.length;) {
    const length = extra.readUInt16LE(at + 2);
    if (extra.readUInt16LE(at) === 1) fields = extra.subarray(at + 4, at + 4 + length);
    at += 4 + length;
  }
  let used = 0;
  return sizes.map((size) => {
    if (size !== 0xffffffff) return size;
    if (fields === undefined || used + 8 > fields.length) throw new ZipError('has a broken directory');
    used += 8;
    return whole(fields.readBigUInt64LE(used - 8));
  });
}

function dataStart(descriptor: number, size: number, offset: number): number {
  if (offset + 30 > size) throw new ZipError('has an entry beyond its end');
  const local = read(descriptor, offset, 30);
  if (local.readUInt32LE(0) !== localRecord) throw new ZipError('has an entry without its header');
  return offset + 30 + local.readUInt16LE(26) + local.readUInt16LE(28);
}

function whole(value: bigint): number {
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new ZipError('has sizes that no file can have');
  return Number(value);
}

function read(descriptor: number, start: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  for (let done = 0; done < bytes;) {
    const got = readSync(descriptor, buffer, done, bytes - done, start + done);
    if (got === 0) throw new ZipError('ends too early');
    done += got;
  }
  return buffer;
}
