import type { StorageFormat } from './format.ts';
import { nibbleWord } from './bits-of-bytes.ts';
import { extreme, f32Slack, halfUnit, range, reciprocal } from './scales.ts';

const { fround } = Math;

/** Elements 0–15 in the low halves of 16 bytes, 16–31 in the high ones. */
function nibble(block: DataView, at: number, e: number): number {
  return (block.getUint8(at + (e & 15)) >> (e & 16 ? 4 : 0)) & 15;
}

function writeNibbles(block: DataView, at: number, code: (e: number) => number): void {
  for (let e = 0; e < 16; e++) block.setUint8(at + e, code(e) | (code(e + 16) << 4));
}

export const q4_0: StorageFormat = {
  name: 'q4_0',
  doc: 'd f16 | qs u8[16]; w = d·(n − 8)',
  block: 32,
  bytes: 18,
  decode(block, at, into, start) {
    const d = block.getFloat16(at, true);
    for (let e = 0; e < 32; e++) into[start + e] = d * (nibble(block, at + 2, e) - 8);
  },
  encode(from, start, block, at) {
    const d = fround(extreme(from, start, 32) / -8);
    const inverse = reciprocal(d);
    block.setFloat16(at, d, true);
    writeNibbles(block, at + 2, (e) =>
      Math.min(15, Math.trunc(fround(fround((from[start + e] ?? 0) * inverse) + 8.5))),
    );
  },
  roundTrip(least, greatest) {
    const most = Math.max(Math.abs(least), Math.abs(greatest));
    // A second extreme of the other sign would need code 16.
    return most / 8 + 8 * halfUnit(most / 8) + most * f32Slack;
  },
  planes: {
    bits: 4,
    group: 32,
    zero: 8,
    scale: (block, at) => block.getFloat16(at, true),
    code: (block, at, e) => nibble(block, at + 2, e),
    word: (block, at, w) => nibbleWord(block, at + 2 + 8 * (w & 1), w < 2 ? 'low' : 'high'),
  },
  wgsl: ({ half, word }) =>
    `let n = (storage_bytes(${word('at + 2u + (e & 15u)')}) >> vec4u((e >> 4u) * 4u)) & vec4u(15u);
  return storage_f16(${half('at')}) * (vec4f(n) - vec4f(8f));`,
};

export const q4_1: StorageFormat = {
  name: 'q4_1',
  doc: 'd f16 | m f16 | qs u8[16]; w = d·n + m',
  block: 32,
  bytes: 20,
  decode(block, at, into, start) {
    const [d, m] = [block.getFloat16(at, true), block.getFloat16(at + 2, true)];
    for (let e = 0; e < 32; e++) into[start + e] = d * nibble(block, at + 4, e) + m;
  },
  encode(from, start, block, at) {
    const [least, greatest] = range(from, start, 32);
    const d = fround(fround(greatest - least) / 15);
    const inverse = reciprocal(d);
    block.setFloat16(at, d, true);
    block.setFloat16(at + 2, least, true);
    writeNibbles(block, at + 4, (e) =>
      Math.min(15, Math.trunc(fround(fround(fround((from[start + e] ?? 0) - least) * inverse) + 0.5))),
    );
  },
  roundTrip(least, greatest) {
    const d = (greatest - least) / 15;
    return d / 2 + 15 * halfUnit(d) + halfUnit(least) + Math.max(Math.abs(least), Math.abs(greatest)) * f32Slack;
  },
  planes: {
    bits: 4,
    group: 32,
    zero: 0,
    wide: true,
    scale: (block, at) => block.getFloat16(at, true),
    code: (block, at, e) => nibble(block, at + 4, e),
    word: (block, at, w) => nibbleWord(block, at + 4 + 8 * (w & 1), w < 2 ? 'low' : 'high'),
    offset: { kind: 'bias', of: (block, at) => block.getFloat16(at + 2, true) },
  },
  wgsl: ({ half, word }) =>
    `let n = (storage_bytes(${word('at + 4u + (e & 15u)')}) >> vec4u((e >> 4u) * 4u)) & vec4u(15u);
  return storage_f16(${half('at')}) * vec4f(n) + vec4f(storage_f16(${half('at + 2u')}));`,
};
