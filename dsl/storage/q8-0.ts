import type { StorageFormat } from './format.ts';
import { extreme, f32Slack, halfUnit, reciprocal } from './scales.ts';

const { fround } = Math;

export const q8_0: StorageFormat = {
  name: 'q8_0',
  doc: 'd f16 | q i8[32]; w = d·q',
  block: 32,
  bytes: 34,
  decode(block, at, into, start) {
    const d = block.getFloat16(at, true);
    for (let e = 0; e < 32; e++) into[start + e] = d * block.getInt8(at + 2 + e);
  },
  encode(from, start, block, at) {
    const d = fround(Math.abs(extreme(from, start, 32)) / 127);
    const inverse = reciprocal(d);
    block.setFloat16(at, d, true);
    for (let e = 0; e < 32; e++) {
      const scaled = fround((from[start + e] ?? 0) * inverse);
      // Half away from zero, where Math.round takes halves up.
      block.setInt8(at + 2 + e, Math.sign(scaled) * Math.round(Math.abs(scaled)));
    }
  },
  roundTrip(least, greatest) {
    const most = Math.max(Math.abs(least), Math.abs(greatest));
    const d = most / 127;
    return d / 2 + 127 * halfUnit(d) + most * f32Slack;
  },
  planes: {
    bits: 8,
    group: 32,
    zero: 128,
    scale: (block, at) => block.getFloat16(at, true),
    code: (block, at, e) => block.getInt8(at + 2 + e) + 128,
    word: (block, at, w) => block.getUint32(at + 2 + 4 * w, true) ^ 0x80808080,
  },
  wgsl: ({ half, word }) => `return storage_f16(${half('at')}) * vec4f(storage_signed(${word('at + 2u + e')}));`,
};
