// Is a computed tensor the expected one? Largest difference and relative error norm against the bounds of the two dtypes.
import type { ComputeDType } from './golden-file.ts';

export interface Comparison {
  readonly tensor: string;
  readonly shape: readonly number[];
  /** max |computed − expected|; Infinity where one is NaN and the other is not, or the counts differ. */
  readonly largest: number;
  /** ‖computed − expected‖ / ‖expected‖ */
  readonly relative: number;
  readonly bound: number;
  readonly verdict: 'ok' | 'WRONG' | 'MISSING';
}

/** Allowed in f32: 2e-5 · max(1, max|expected|). */
export function boundF32(expected: ArrayLike<number>): number {
  let largest = 1;
  for (let i = 0; i < expected.length; i++) largest = Math.max(largest, Math.abs(expected[i] ?? 0));
  return 2e-5 * largest;
}

/** What f32 may differ by, element by element: |a − b| ≤ absolute + relative · |b|. */
export interface Tolerance {
  readonly absolute: number;
  readonly relative: number;
  /** Instead of `absolute`, one an element. */
  readonly each?: ArrayLike<number> | undefined;
}

/** For single models, after the noise of their reference implementations. */
export const modelTolerance: Tolerance = { absolute: 1e-4, relative: 1e-4 };

/**
 * Without a tolerance, `boundF32` of the whole tensor holds in f32; in f16 it is `half`, a relative error norm (`half-bounds.ts`), or the
 * tolerance: f16 is never asked for more than f32.
 */
export function compare(
  tensor: string,
  shape: readonly number[],
  computed: ArrayLike<number> | undefined,
  expected: ArrayLike<number>,
  dtype: ComputeDType,
  tolerance?: Tolerance,
  half = 0,
): Comparison {
  const bound = dtype === 'f16' ? half : tolerance === undefined ? boundF32(expected) : tolerance.absolute;
  if (computed === undefined)
    return { tensor, shape, largest: Infinity, relative: Infinity, bound, verdict: 'MISSING' };
  const { largest, relative } = difference(computed, expected);
  const ok =
    (dtype === 'f16' && relative <= bound) ||
    (tolerance === undefined ? dtype === 'f32' && largest <= bound : within(computed, expected, tolerance));
  return { tensor, shape, largest, relative, bound, verdict: ok ? 'ok' : 'WRONG' };
}

function within(computed: ArrayLike<number>, expected: ArrayLike<number>, tolerance: Tolerance): boolean {
  const { relative, each } = tolerance;
  if (computed.length !== expected.length) return false;
  for (let i = 0; i < expected.length; i++) {
    const [a, b] = [computed[i] ?? NaN, expected[i] ?? NaN];
    const absolute = each?.[i] ?? tolerance.absolute;
    if (!Object.is(a, b) && a !== b && !(Math.abs(a - b) <= absolute + relative * Math.abs(b))) return false;
  }
  return true;
}

function difference(
  computed: ArrayLike<number>,
  expected: ArrayLike<number>,
): { readonly largest: number; readonly relative: number } {
  if (computed.length !== expected.length) return { largest: Infinity, relative: Infinity };
  let [largest, squares, norm] = [0, 0, 0];
  for (let i = 0; i < expected.length; i++) {
    const [a, b] = [computed[i] ?? NaN, expected[i] ?? NaN];
    // Equal infinities and NaNs agree; their difference would be NaN, and NaN passes every `<=` the wrong way round.
    const delta = Object.is(a, b) || a === b ? 0 : Math.abs(a - b);
    largest = Math.max(largest, Number.isNaN(delta) ? Infinity : delta);
    squares += delta * delta;
    norm += b * b;
  }
  const relative = largest === Infinity ? Infinity : Math.sqrt(squares) / (norm === 0 ? 1 : Math.sqrt(norm));
  return { largest, relative };
}
