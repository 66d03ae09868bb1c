import { bitWord, nibbleWord } from './bits-of-bytes.ts';
import type { Planes, StorageFormat, WgslBytes } from './format.ts';

/** Scale and minimum of sub-block j, six bits each, in twelve bytes. */
function scalesOf(block: DataView, at: number, j: number): readonly [scale: number, minimum: number] {
  const s = (i: number): number => block.getUint8(at + i);
  return j < 4
    ? [s(j) & 63, s(j + 4) & 63]
    : [(s(j + 4) & 15) | ((s(j - 4) >> 6) << 4), (s(j + 4) >> 4) | ((s(j) >> 6) << 4)];
}

function decode(high: boolean): StorageFormat['decode'] {
  return (block, at, into, start) => {
    const [d, least] = [block.getFloat16(at, true), block.getFloat16(at + 2, true)];
    const codes = at + (high ? 48 : 16);
    for (let j = 0; j < 8; j++) {
      const [scale, minimum] = scalesOf(block, at + 4, j);
      const [s, m] = [d * scale, least * minimum];
      for (let l = 0; l < 32; l++) {
        const low = (block.getUint8(codes + 32 * (j >> 1) + l) >> (4 * (j & 1))) & 15;
        const bit = high ? (block.getUint8(at + 16 + l) >> j) & 1 : 0;
        into[start + 32 * j + l] = s * (low | (bit << 4)) - m;
      }
    }
  };
}

function codeOf(block: DataView, at: number, e: number, high: boolean): number {
  const low = (block.getUint8(at + (high ? 48 : 16) + 32 * (e >> 6) + (e & 31)) >> (4 * ((e >> 5) & 1))) & 15;
  return high ? low | (((block.getUint8(at + 16 + (e & 31)) >> (e >> 5)) & 1) << 4) : low;
}

function planes(high: boolean): Planes {
  return {
    bits: 4,
    ...(high ? { high: 1 } : {}),
    group: 32,
    zero: 0,
    wide: true,
    scale: (block, at, j) => block.getFloat16(at, true) * scalesOf(block, at + 4, j)[0],
    code: (block, at, e) => codeOf(block, at, e, high),
    word: (block, at, w) =>
      nibbleWord(block, at + (high ? 48 : 16) + 32 * (w >> 3) + 8 * (w & 3), (w & 4) === 0 ? 'low' : 'high'),
    ...(high ? { highWord: (block: DataView, at: number, w: number) => bitWord(block, at + 16, w) } : {}),
    offset: { kind: 'bias', of: (block, at, j) => -block.getFloat16(at + 2, true) * scalesOf(block, at + 4, j)[1] },
  };
}

function wgsl({ byte, half, word }: WgslBytes, high: boolean): string {
  const fifth = high
    ? `\n  n |= ((storage_bytes(${word('at + 16u + (e & 31u)')}) >> vec4u(j)) & vec4u(1u)) << vec4u(4u);`
    : '';
  return `let j = e >> 5u;
  let first = ${byte('at + 4u + (j & 3u)')};
  let second = ${byte('at + 8u + (j & 3u)')};
  var scale = first & 63u;
  var minimum = second & 63u;
  if (j >= 4u) {
    let third = ${byte('at + 8u + j')};
    scale = (third & 15u) | ((first >> 6u) << 4u);
    minimum = (third >> 4u) | ((second >> 6u) << 4u);
  }
  var n = (storage_bytes(${word(`at + ${high ? 48 : 16}u + 32u * (e >> 6u) + (e & 31u)`)}) >> vec4u(4u * (j & 1u))) & vec4u(15u);${fifth}
  return storage_f16(${half('at')}) * f32(scale) * vec4f(n) - vec4f(storage_f16(${half('at + 2u')}) * f32(minimum));`;
}

export const q4_K: StorageFormat = {
  name: 'q4_K',
  doc: 'd f16 | dmin f16 | scales u8[12] | qs u8[128]; eight sub-blocks of 32, w = d·sc·n − dmin·m',
  block: 256,
  bytes: 144,
  decode: decode(false),
  planes: planes(false),
  wgsl: (bytes) => wgsl(bytes, false),
};

export const q5_K: StorageFormat = {
  name: 'q5_K',
  doc: 'd f16 | dmin f16 | scales u8[12] | qh u8[32] | qs u8[128]; as q4_K with a fifth bit',
  block: 256,
  bytes: 176,
  decode: decode(true),
  planes: planes(true),
  wgsl: (bytes) => wgsl(bytes, true),
};
