// Medians with their spread, and how far a result is from the truth.

/** Of timings, in milliseconds. */
export interface Spread {
  readonly count: number;
  readonly least: number;
  readonly lower: number;
  readonly median: number;
  readonly upper: number;
}

/** Quartiles by linear interpolation between the sorted values (Hyndman and Fan 1996, type 7). Throws `RangeError` without values. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const [least] = sorted;
  if (least === undefined) throw new RangeError('there is no spread of no values');
  return {
    count: sorted.length,
    least,
    lower: quantile(sorted, 0.25),
    median: quantile(sorted, 0.5),
    upper: quantile(sorted, 0.75),
  };
}

function quantile(sorted: readonly number[], share: number): number {
  const place = (sorted.length - 1) * share;
  const below = sorted[Math.floor(place)] ?? NaN;
  const above = sorted[Math.ceil(place)] ?? below;
  return below + (above - below) * (place - Math.floor(place));
}

/** Against values in f64. */
export interface Deviation {
  /** max |a − b| / max |b| */
  readonly largest: number;
  /** ‖a − b‖ / ‖b‖ */
  readonly relative: number;
}

/** A NaN or a missing value makes both infinite; two tensors of zeros deviate by nothing. */
export function deviationOf(got: ArrayLike<number>, expected: ArrayLike<number>): Deviation {
  if (got.length !== expected.length) return { largest: Infinity, relative: Infinity };
  let [apart, scale, squares, norm] = [0, 0, 0, 0];
  for (let i = 0; i < expected.length; i++) {
    const truth = expected[i] ?? NaN;
    const difference = Math.abs((got[i] ?? NaN) - truth);
    if (Number.isNaN(difference)) return { largest: Infinity, relative: Infinity };
    apart = Math.max(apart, difference);
    scale = Math.max(scale, Math.abs(truth));
    squares += difference * difference;
    norm += truth * truth;
  }
  const over = (value: number, unit: number) => (value === 0 ? 0 : unit === 0 ? Infinity : value / unit);
  return { largest: over(apart, scale), relative: over(Math.sqrt(squares), Math.sqrt(norm)) };
}

/** The worse of two, field by field. */
export function worse(a: Deviation, b: Deviation): Deviation {
  return { largest: Math.max(a.largest, b.largest), relative: Math.max(a.relative, b.relative) };
}
