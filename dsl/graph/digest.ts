// A short text that stands for many numbers where nodes are told apart, so that a table of positions is not written out each time.

const known = new WeakMap<Float64Array, string>();
const factors = [0x9e3779b1, 0x85ebca77, 0xc2b2ae3d, 0x27d4eb2f] as const;

interface Bucket {
  /** One array of each content that has this digest, while somebody holds it. */
  arrays: { readonly text: string; readonly values: WeakRef<Float64Array> }[];
  made: number;
}
const buckets = new Map<string, Bucket>();

/**
 * The same text for equal bits, so −0 and 0 differ, and another text for any other array that is alive: a digest finds the candidates, and
 * the bits decide. Two constants that were taken for one would be a wrong value that nothing shows.
 */
export function digest(values: Float64Array): string {
  const made = known.get(values);
  if (made !== undefined) return made;
  const text = tellApart(mixed(values), values);
  known.set(values, text);
  return text;
}

/** The text of an array among all that have this mark: where marks are equal, the bits decide. */
export function tellApart(mark: string, values: Float64Array): string {
  const bucket = buckets.get(mark) ?? { arrays: [], made: 0 };
  buckets.set(mark, bucket);
  bucket.arrays = bucket.arrays.filter((other) => other.values.deref() !== undefined);
  const equal = bucket.arrays.find((other) => haveSameBits(other.values.deref(), values));
  const text = equal?.text ?? `${mark}.${bucket.made++}`;
  if (equal === undefined) bucket.arrays.push({ text, values: new WeakRef(values) });
  return text;
}

function wordsOf(values: Float64Array): Uint32Array {
  return new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
}

function haveSameBits(a: Float64Array | undefined, b: Float64Array): boolean {
  if (a === undefined || a.length !== b.length) return false;
  const [x, y] = [wordsOf(a), wordsOf(b)];
  return x.every((word, i) => word === y[i]);
}

/** Four lanes of multiply, rotate and xor (Murmur 3's mixing), each of its own factor. */
function mixed(values: Float64Array): string {
  const words = wordsOf(values);
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
  return [a, b, c, d]
    .map((lane) =>
      finished(lane ^ words.length)
        .toString(16)
        .padStart(8, '0'),
    )
    .join('');
}

function finished(lane: number): number {
  let x = Math.imul(lane ^ (lane >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}
