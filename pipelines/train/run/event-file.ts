// TensorBoard's event files, written by hand: records of three protobuf messages, each with masked CRC-32C.
import { appendFileSync, readFileSync } from 'node:fs';
import { writeFileAtomic } from '../../../runtime/files/atomic-file.ts';

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  return crc;
});

/** CRC-32C (Castagnoli), RFC 3720. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (table[(crc ^ byte) & 255] ?? 0);
  return (crc ^ 0xffffffff) >>> 0;
}

/** As TFRecord stores it, so that a checksum over data that holds one is not weak. */
export function maskedCrc(bytes: Uint8Array): number {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

function varint(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let left = BigInt.asUintN(64, value);
  do {
    const low = Number(left & 127n);
    left >>= 7n;
    bytes.push(left === 0n ? low : low | 128);
  } while (left !== 0n);
  return Uint8Array.from(bytes);
}

/** Field with a length in front: messages, texts. */
function block(field: number, bytes: Uint8Array): Uint8Array {
  return Buffer.concat([varint(BigInt((field << 3) | 2)), varint(BigInt(bytes.length)), bytes]);
}

function scalar(field: number, kind: 1 | 5, value: number): Uint8Array {
  const bytes = Buffer.alloc(kind === 1 ? 8 : 4);
  if (kind === 1) bytes.writeDoubleLE(value);
  else bytes.writeFloatLE(value);
  return Buffer.concat([varint(BigInt((field << 3) | kind)), bytes]);
}

/** A record: length and its checksum, data and its checksum. */
function record(data: Uint8Array): Uint8Array {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(data.length));
  const sum = (bytes: Uint8Array): Uint8Array => {
    const crc = Buffer.alloc(4);
    crc.writeUInt32LE(maskedCrc(bytes));
    return crc;
  };
  return Buffer.concat([length, sum(length), data, sum(data)]);
}

/** `Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5; }` */
function event(seconds: number, step: number, rest: Uint8Array): Uint8Array {
  return record(Buffer.concat([scalar(1, 1, seconds), varint(16n), varint(BigInt(step)), rest]));
}

/** The first record of a file. `seconds`: since 1970. */
export function versionEvent(seconds: number): Uint8Array {
  return event(seconds, 0, block(3, Buffer.from('brain.Event:2')));
}

/** `Summary { repeated Value value = 1 }`, `Value { string tag = 1; float simple_value = 2 }`. */
export function scalarEvent(seconds: number, step: number, scalars: Readonly<Record<string, number>>): Uint8Array {
  const values = Object.entries(scalars).map(([tag, value]) =>
    block(1, Buffer.concat([block(1, Buffer.from(tag)), scalar(2, 5, value)])),
  );
  return event(seconds, step, block(5, Buffer.concat(values)));
}

/**
 * Takes a file that `EventFile` wrote back to a step: records behind it go, and so does a last one that was cut off. TensorBoard draws all
 * records of a file, those of a step taken twice as two points.
 */
export function rewindEvents(path: string, step: number): void {
  const data = readFileSync(path);
  const kept: Uint8Array[] = [];
  for (let at = 0; at + 12 <= data.length;) {
    const end = at + 16 + Number(data.readBigUInt64LE(at));
    if (end > data.length) break;
    // `event` writes the seconds in nine bytes, then the step behind its tag.
    if (readVarint(data, at + 12 + 10) <= step) kept.push(data.subarray(at, end));
    at = end;
  }
  writeFileAtomic(path, Buffer.concat(kept), { op: 'train' });
}

function readVarint(data: Uint8Array, from: number): number {
  let [value, at] = [0n, from];
  for (let shift = 0n; ; shift += 7n) {
    const byte = BigInt(data[at++] ?? 0);
    value |= (byte & 127n) << shift;
    if (byte < 128n) return Number(value);
  }
}

/** Appends scalars to one file, which TensorBoard reads while it grows. */
export class EventFile {
  readonly path: string;

  constructor(path: string, seconds: number) {
    this.path = path;
    appendFileSync(path, versionEvent(seconds));
  }

  append(seconds: number, step: number, scalars: Readonly<Record<string, number>>): void {
    appendFileSync(this.path, scalarEvent(seconds, step, scalars));
  }
}
