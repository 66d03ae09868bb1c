// What encoders have in common: f32 arithmetic, the extremes of a block, and what rounding a scale to f16 may cost.

const { fround } = Math;

/** 1/d in f32; 0 where d is. */
export function reciprocal(d: number): number {
  return d === 0 ? 0 : fround(1 / d);
}

/** The signed value of the largest magnitude, the first of them on ties. */
export function extreme(from: Float32Array, start: number, count: number): number {
  let found = 0;
  for (let i = start; i < start + count; i++) {
    const value = from[i] ?? 0;
    if (Math.abs(value) > Math.abs(found)) found = value;
  }
  return found;
}

export function range(from: Float32Array, start: number, count: number): readonly [least: number, greatest: number] {
  let [least, greatest] = [Infinity, -Infinity];
  for (let i = start; i < start + count; i++) {
    const value = from[i] ?? 0;
    if (value < least) least = value;
    if (value > greatest) greatest = value;
  }
  return [least, greatest];
}

/** Half a unit in the last place of an f16 near `value`, subnormals included. */
export function halfUnit(value: number): number {
  return Math.max(Math.abs(value) * 2 ** -11, 2 ** -25);
}

/** What rounding in f32 inside an encoder may add, relative to the magnitudes in the block. */
export const f32Slack = 2 ** -20;
