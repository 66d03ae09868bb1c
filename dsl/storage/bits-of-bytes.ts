// ggml keeps codes of a run in bytes that several runs share: from each byte the same few bits, side by side in a word. Four bytes at a time.

/** The low or the high halves of the eight bytes from `at` on. */
export function nibbleWord(block: DataView, at: number, half: 'low' | 'high'): number {
  const shift = half === 'low' ? 0 : 4;
  return nibbles(block.getUint32(at, true) >>> shift) | (nibbles(block.getUint32(at + 4, true) >>> shift) << 16);
}

/** Bits `shift` and `shift + 1` of the sixteen bytes from `at` on. */
export function pairWord(block: DataView, at: number, shift: number): number {
  let word = 0;
  for (let i = 0; i < 4; i++) word |= pairs(block.getUint32(at + 4 * i, true) >>> shift) << (8 * i);
  return word;
}

/** Bit `shift` of the thirty-two bytes from `at` on. */
export function bitWord(block: DataView, at: number, shift: number): number {
  let word = 0;
  for (let i = 0; i < 8; i++) word |= bits(block.getUint32(at + 4 * i, true) >>> shift) << (4 * i);
  return word;
}

/** The lowest four bits of four bytes, as sixteen. */
function nibbles(bytes: number): number {
  const apart = bytes & 0x0f0f0f0f;
  const joined = (apart | (apart >>> 4)) & 0x00ff00ff;
  return (joined | (joined >>> 8)) & 0xffff;
}

/** The lowest two bits of four bytes, as eight. */
function pairs(bytes: number): number {
  const apart = bytes & 0x03030303;
  const joined = (apart | (apart >>> 6)) & 0x000f000f;
  return (joined | (joined >>> 12)) & 0xff;
}

/** The lowest bit of four bytes, as four. */
function bits(bytes: number): number {
  const apart = bytes & 0x01010101;
  const joined = (apart | (apart >>> 7)) & 0x00030003;
  return (joined | (joined >>> 14)) & 0xf;
}
