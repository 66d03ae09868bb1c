// Values with a bound for each: what a judge compares with.
import type { Values } from '../../runtime/reference/values.ts';

/** Exact values, and for each the most that a correct result may differ from it; Infinity where nothing can be said. */
export interface Bounded extends Values {
  readonly error: Float64Array;
}
