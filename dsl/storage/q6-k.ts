import { nibbleWord, pairWord } from './bits-of-bytes.ts';
import type { StorageFormat } from './format.ts';

function code(block: DataView, at: number, e: number): number {
  const [h, k, l] = [e >> 7, (e >> 5) & 3, e & 31];
  const low = (block.getUint8(at + 64 * h + 32 * (k & 1) + l) >> (4 * (k >> 1))) & 15;
  return low | (((block.getUint8(at + 128 + 32 * h + l) >> (2 * k)) & 3) << 4);
}

export const q6_K: StorageFormat = {
  name: 'q6_K',
  doc: 'ql u8[128] | qh u8[64] | sc i8[16] | d f16; w = d·sc·(q − 32)',
  block: 256,
  bytes: 210,
  decode(block, at, into, start) {
    const d = block.getFloat16(at + 208, true);
    for (let e = 0; e < 256; e++) into[start + e] = d * block.getInt8(at + 192 + (e >> 4)) * (code(block, at, e) - 32);
  },
  planes: {
    bits: 4,
    high: 2,
    group: 16,
    zero: 32,
    wide: true,
    scale: (block, at, j) => block.getFloat16(at + 208, true) * block.getInt8(at + 192 + j),
    code,
    word: (block, at, w) =>
      nibbleWord(block, at + 64 * (w >> 4) + 32 * ((w >> 2) & 1) + 8 * (w & 3), (w & 8) === 0 ? 'low' : 'high'),
    highWord: (block, at, w) => pairWord(block, at + 128 + 32 * (w >> 3) + 16 * (w & 1), 2 * ((w >> 1) & 3)),
  },
  wgsl: ({ byte, half, word }) =>
    `let k = (e >> 5u) & 3u;
  let low = (storage_bytes(${word('at + 64u * (e >> 7u) + 32u * (k & 1u) + (e & 31u)')}) >> vec4u(4u * (k >> 1u))) & vec4u(15u);
  let high = (storage_bytes(${word('at + 128u + 32u * (e >> 7u) + (e & 31u)')}) >> vec4u(2u * k)) & vec4u(3u);
  let scale = storage_f16(${half('at + 208u')}) * storage_signed_byte(${byte('at + 192u + (e >> 4u)')});
  return scale * (vec4f(low | (high << vec4u(4u))) - vec4f(32f));`,
};
