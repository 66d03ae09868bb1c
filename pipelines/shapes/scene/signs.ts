// The bitmaps of signs: marks of 5 × 5, and words in letters of 5 × 7. Rows from the top, the highest bit at the left.
import { OpabiniaError } from '../../../dsl/error.ts';
import type { Sign } from './scene.ts';

export interface Bitmap {
  readonly width: number;
  readonly rows: readonly number[];
}

const marks: Readonly<Record<string, readonly number[]>> = {
  dash: [0b00000, 0b11111, 0b11111, 0b11111, 0b00000],
  bar: [0b01110, 0b01110, 0b01110, 0b01110, 0b01110],
  slash: [0b00011, 0b00111, 0b01110, 0b11100, 0b11000],
  hook: [0b11000, 0b11000, 0b11000, 0b11111, 0b11111],
};

/** The lower-case letters that words are made of, in the shapes of the classic 5 × 7 matrix display. */
const letters: Readonly<Record<string, readonly number[]>> = {
  a: [0b00000, 0b00000, 0b01110, 0b00001, 0b01111, 0b10001, 0b01111],
  b: [0b10000, 0b10000, 0b10110, 0b11001, 0b10001, 0b10001, 0b11110],
  c: [0b00000, 0b00000, 0b01110, 0b10000, 0b10000, 0b10001, 0b01110],
  d: [0b00001, 0b00001, 0b01101, 0b10011, 0b10001, 0b10001, 0b01111],
  e: [0b00000, 0b00000, 0b01110, 0b10001, 0b11111, 0b10000, 0b01110],
  f: [0b00110, 0b01001, 0b01000, 0b11100, 0b01000, 0b01000, 0b01000],
  g: [0b00000, 0b01111, 0b10001, 0b10001, 0b01111, 0b00001, 0b01110],
  k: [0b10000, 0b10000, 0b10010, 0b10100, 0b11000, 0b10100, 0b10010],
  l: [0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110],
  n: [0b00000, 0b00000, 0b10110, 0b11001, 0b10001, 0b10001, 0b10001],
  o: [0b00000, 0b00000, 0b01110, 0b10001, 0b10001, 0b10001, 0b01110],
  r: [0b00000, 0b00000, 0b10110, 0b11001, 0b10000, 0b10000, 0b10000],
  t: [0b01000, 0b01000, 0b11100, 0b01000, 0b01000, 0b01001, 0b00110],
  w: [0b00000, 0b00000, 0b10001, 0b10001, 0b10101, 0b10101, 0b01010],
  x: [0b00000, 0b00000, 0b10001, 0b01010, 0b00100, 0b01010, 0b10001],
};

/** Throws `OpabiniaError` for a sign that has no bitmap. */
export function bitmapOf(sign: Sign): Bitmap {
  const mark = marks[sign];
  if (mark !== undefined) return { width: 5, rows: mark };
  const spelled = [...sign].map((letter) => {
    const rows = letters[letter];
    if (rows === undefined) throw new OpabiniaError(`'${letter}' is not in the font of the scenes`, { op: 'scene' });
    return rows;
  });
  const width = 6 * spelled.length - 1;
  return {
    width,
    rows: Array.from(
      { length: 7 },
      (_, row) => spelled.reduce((all, rows) => (all << 6) | ((rows[row] ?? 0) << 1), 0) >> 1,
    ),
  };
}
