import type { StorageFormat } from './format.ts';
import { nibbleWord } from './bits-of-bytes.ts';
import { extreme, f32Slack, halfUnit, range, reciprocal } from './scales.ts';

const { fround } = Math;

/** Four bits as in q4_0, the fifth from bit e of 32. */
function code(block: DataView, at: number, e: number): number {
  const low = (block.getUint8(at + 4 + (e & 15)) >> (e & 16 ? 4 : 0)) & 15;
  return low | (((block.getUint32(at, true) >>> e) & 1) << 4);
}

function writeCodes(block: DataView, at: number, codeOf: (e: number) => number): void {
  let high = 0;
  for (let e = 0; e < 16; e++) {
    const [low, upper] = [codeOf(e), codeOf(e + 16)];
    block.setUint8(at + 4 + e, (low & 15) | ((upper & 15) << 4));
    high |= ((low >> 4) << e) | ((upper >> 4) << (e + 16));
  }
  block.setUint32(at, high >>> 0, true);
}

export const q5_0: StorageFormat = {
  name: 'q5_0',
  doc: 'd f16 | qh u32 | qs u8[16]; w = d·(q − 16)',
  block: 32,
  bytes: 22,
  decode(block, at, into, start) {
    const d = block.getFloat16(at, true);
    for (let e = 0; e < 32; e++) into[start + e] = d * (code(block, at + 2, e) - 16);
  },
  encode(from, start, block, at) {
    const d = fround(extreme(from, start, 32) / -16);
    const inverse = reciprocal(d);
    block.setFloat16(at, d, true);
    writeCodes(block, at + 2, (e) => Math.min(31, Math.trunc(fround(fround((from[start + e] ?? 0) * inverse) + 16.5))));
  },
  roundTrip(least, greatest) {
    const most = Math.max(Math.abs(least), Math.abs(greatest));
    return most / 16 + 16 * halfUnit(most / 16) + most * f32Slack;
  },
  planes: {
    bits: 4,
    high: 1,
    group: 32,
    zero: 16,
    wide: true,
    scale: (block, at) => block.getFloat16(at, true),
    code: (block, at, e) => code(block, at + 2, e),
    word: (block, at, w) => nibbleWord(block, at + 6 + 8 * (w & 1), w < 2 ? 'low' : 'high'),
    highWord: (block, at) => block.getUint32(at + 2, true),
  },
  wgsl: ({ half, word }) =>
    `let n = (storage_bytes(${word('at + 6u + (e & 15u)')}) >> vec4u((e >> 4u) * 4u)) & vec4u(15u);
  let q = n | (storage_bits(${word('at + 2u')}, e) << vec4u(4u));
  return storage_f16(${half('at')}) * (vec4f(q) - vec4f(16f));`,
};

export const q5_1: StorageFormat = {
  name: 'q5_1',
  doc: 'd f16 | m f16 | qh u32 | qs u8[16]; w = d·q + m',
  block: 32,
  bytes: 24,
  decode(block, at, into, start) {
    const [d, m] = [block.getFloat16(at, true), block.getFloat16(at + 2, true)];
    for (let e = 0; e < 32; e++) into[start + e] = d * code(block, at + 4, e) + m;
  },
  encode(from, start, block, at) {
    const [least, greatest] = range(from, start, 32);
    const d = fround(fround(greatest - least) / 31);
    const inverse = reciprocal(d);
    block.setFloat16(at, d, true);
    block.setFloat16(at + 2, least, true);
    writeCodes(block, at + 4, (e) =>
      Math.min(31, Math.trunc(fround(fround(fround((from[start + e] ?? 0) - least) * inverse) + 0.5))),
    );
  },
  roundTrip(least, greatest) {
    const d = (greatest - least) / 31;
    return d / 2 + 31 * halfUnit(d) + halfUnit(least) + Math.max(Math.abs(least), Math.abs(greatest)) * f32Slack;
  },
  planes: {
    bits: 4,
    high: 1,
    group: 32,
    zero: 0,
    wide: true,
    scale: (block, at) => block.getFloat16(at, true),
    code: (block, at, e) => code(block, at + 4, e),
    word: (block, at, w) => nibbleWord(block, at + 8 + 8 * (w & 1), w < 2 ? 'low' : 'high'),
    highWord: (block, at) => block.getUint32(at + 4, true),
    offset: { kind: 'bias', of: (block, at) => block.getFloat16(at + 2, true) },
  },
  wgsl: ({ half, word }) =>
    `let n = (storage_bytes(${word('at + 8u + (e & 15u)')}) >> vec4u((e >> 4u) * 4u)) & vec4u(15u);
  let q = n | (storage_bits(${word('at + 4u')}, e) << vec4u(4u));
  return storage_f16(${half('at')}) * vec4f(q) + vec4f(storage_f16(${half('at + 2u')}));`,
};
