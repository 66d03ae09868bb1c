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

/** Allowed relative error norm where weights and activations are stored in f16. */
export const boundF16 = 5e-3;

export function compare(tensor: string, shape: readonly number[], computed: ArrayLike<number> | undefined, expected: ArrayLike<number>, dtype: ComputeDType): Comparison {
  const bound = dtype === 'f32' ? boundF32(expected) : boundF16;
  if (computed === undefined) return { tensor, shape, largest: Infinity, relative: Infinity, bound, verdict: 'MISSING' };
  const { largest, relative } = difference(computed, expected);
  const ok = dtype === 'f32' ? largest <= bound : relative <= bound;
  return { tensor, shape, largest, relative, bound, verdict: ok ? 'ok' : 'WRONG' };
}

function difference(computed: ArrayLike<number>, expected: ArrayLike<number>): { readonly largest: number; readonly relative: number } {
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
