// A short text that stands for many numbers where nodes are told apart: 128 bits of all their bits, so that a table of positions is not written out each time.

const known = new WeakMap<Float64Array, string>();
const factors = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f] as const;

/** The same for equal bits, so −0 and 0 differ; two arrays of one digest are taken for equal, which 2⁻¹²⁸ makes safe. */
export function digest(values: Float64Array): string {
  const made = known.get(values) ?? mixed(values);
  known.set(values, made);
  return made;
}

/** Four lanes of multiply, rotate and xor (Murmur 3's mixing), each of its own factor. */
function mixed(values: Float64Array): string {
  const words = new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
  let [a, b, c, d] = [1, 2, 3, 4];
  for (let i = 0; i < words.length; i++) {
    const word = words[i] ?? 0;
    a = Math.imul(a ^ word, factors[0]);
    a = (a << 13) | (a >>> 19);
    b = Math.imul(b ^ a ^ word, factors[1]);
    b = (b << 15) | (b >>> 17);
    c = Math.imul((c + word) ^ b, factors[2]);
    c = (c << 17) | (c >>> 15);
    d = Math.imul(d ^ c ^ (word + i), factors[3]);
    d = (d << 11) | (d >>> 21);
  }
  return [a, b, c, d].map((lane) => finished(lane ^ words.length).toString(16)).join('');
}

function finished(lane: number): number {
  let x = Math.imul(lane ^ (lane >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
