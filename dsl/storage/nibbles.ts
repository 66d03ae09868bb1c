// Codes of four bits that ggml keeps apart, the first half of a run in the low halves of its bytes and the second in the high ones.

/** The low or the high halves of the eight bytes from `at` on, in order, as a word. */
export function nibbleWord(block: DataView, at: number, half: 'low' | 'high'): number {
  const shift = half === 'low' ? 0 : 4;
  return gathered(block.getUint32(at, true) >>> shift) | (gathered(block.getUint32(at + 4, true) >>> shift) << 16);
}

/** The low halves of four bytes, side by side in sixteen bits. */
function gathered(bytes: number): number {
  const apart = bytes & 0x0f0f0f0f;
  const pairs = (apart | (apart >>> 4)) & 0x00ff00ff;
  return (pairs | (pairs >>> 8)) & 0xffff;
}
