import type { StorageFormat } from './format.ts';

/** Two bits of element e of 256, four elements a byte, 32 apart. */
function pair(block: DataView, at: number, e: number): number {
  return (block.getUint8(at + 32 * (e >> 7) + (e & 31)) >> (2 * ((e >> 5) & 3))) & 3;
}

const pairs = (word: string): string => `(storage_bytes(${word}) >> vec4u(2u * ((e >> 5u) & 3u))) & vec4u(3u)`;

export const q2_K: StorageFormat = {
  name: 'q2_K',
  doc: 'scales u8[16] | qs u8[64] | d f16 | dmin f16; w = d·(s & 15)·q − dmin·(s >> 4)',
  block: 256,
  bytes: 84,
  decode(block, at, into, start) {
    const [d, least] = [block.getFloat16(at + 80, true), block.getFloat16(at + 82, true)];
    for (let e = 0; e < 256; e++) {
      const s = block.getUint8(at + (e >> 4));
      into[start + e] = d * (s & 15) * pair(block, at + 16, e) - least * (s >> 4);
    }
  },
  planes: {
    bits: 2,
    group: 16,
    zero: 0,
    wide: true,
    scale: (block, at, j) => block.getFloat16(at + 80, true) * (block.getUint8(at + j) & 15),
    code: (block, at, e) => pair(block, at + 16, e),
    offset: { kind: 'bias', of: (block, at, j) => -block.getFloat16(at + 82, true) * (block.getUint8(at + j) >> 4) },
  },
  wgsl: ({ byte, half, word }) =>
    `let s = ${byte('at + (e >> 4u)')};
  let q = ${pairs(word('at + 16u + 32u * (e >> 7u) + (e & 31u)'))};
  return storage_f16(${half('at + 80u')}) * f32(s & 15u) * vec4f(q) - vec4f(storage_f16(${half('at + 82u')}) * f32(s >> 4u));`,
};

/** Scale of sixteen elements, six bits less 32. */
function scaleOf(block: DataView, at: number, j: number): number {
  const s = (i: number): number => block.getUint8(at + i);
  return ((j < 8 ? s(j) & 15 : s(j - 8) >> 4) | (((s(8 + (j & 3)) >> (2 * (j >> 2))) & 3) << 4)) - 32;
}

/** Three bits of element e, less 4. */
function triple(block: DataView, at: number, e: number): number {
  return pair(block, at + 32, e) | (((block.getUint8(at + (e & 31)) >> (e >> 5)) & 1) << 2);
}

export const q3_K: StorageFormat = {
  name: 'q3_K',
  doc: 'hmask u8[32] | qs u8[64] | scales u8[12] | d f16; w = d·(S − 32)·q, q less 4 where its bit of hmask is 0',
  block: 256,
  bytes: 110,
  decode(block, at, into, start) {
    const d = block.getFloat16(at + 108, true);
    for (let e = 0; e < 256; e++) into[start + e] = d * scaleOf(block, at + 96, e >> 4) * (triple(block, at, e) - 4);
  },
  // Three bits of sixteen elements fill no words: they take four.
  planes: {
    bits: 4,
    group: 16,
    zero: 4,
    wide: true,
    scale: (block, at, j) => block.getFloat16(at + 108, true) * scaleOf(block, at + 96, j),
    code: triple,
  },
  wgsl: ({ byte, half, word }) =>
    `let j = e >> 4u;
  let low = (${byte('at + 96u + (j & 7u)')} >> (4u * (j >> 3u))) & 15u;
  let upper = (${byte('at + 104u + (j & 3u)')} >> (2u * (j >> 2u))) & 3u;
  let high = (storage_bytes(${word('at + (e & 31u)')}) >> vec4u(e >> 5u)) & vec4u(1u);
  let q = ${pairs(word('at + 32u + 32u * (e >> 7u) + (e & 31u)'))};
  let scale = storage_f16(${half('at + 108u')}) * (f32(low | (upper << 4u)) - 32f);
  return scale * (vec4f(q | (high << vec4u(2u))) - vec4f(4f));`,
};
