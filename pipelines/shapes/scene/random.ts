// Whole numbers from a seed, by 32-bit arithmetic alone: the same on every machine.

/** A stream of random whole numbers. */
export interface Random {
  /** From 0 to `count` − 1. */
  below(count: number): number;
  /** From `least` to `most`, both among them. */
  between(least: number, most: number): number;
  /** 32 bits. */
  bits(): number;
}

/** Streams of different names, or of different seeds, are independent. Splitmix with 32 bits. */
export function randomStream(name: string, seed: number): Random {
  let state = (0x811c9dc5 ^ Math.imul(seed | 0, 0x9e3779b1)) >>> 0;
  for (let i = 0; i < name.length; i++) state = Math.imul(state ^ name.charCodeAt(i), 0x01000193) >>> 0;
  const bits = (): number => {
    state = (state + 0x9e3779b9) >>> 0;
    let x = Math.imul(state ^ (state >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    return (x ^ (x >>> 15)) >>> 0;
  };
  const below = (count: number): number => bits() % count;
  return { bits, below, between: (least, most) => least + below(most - least + 1) };
}

/** One of the list. */
export function pick<T>(random: Random, list: readonly [T, ...T[]] | readonly T[]): T {
  const one = list[random.below(list.length)];
  if (one === undefined) throw new RangeError('there is nothing to pick from');
  return one;
}

/** The list in a random order. */
export function shuffled<T>(random: Random, list: readonly T[]): readonly T[] {
  const out = [...list];
  for (let i = out.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    const [a, b] = [out[i], out[j]];
    if (a === undefined || b === undefined) throw new RangeError('the list has holes');
    [out[i], out[j]] = [b, a];
  }
  return out;
}
