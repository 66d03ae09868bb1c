// Learned values as they are stored.
import { OpabiniaError } from '../../../dsl/error.ts';
import type { StoredDType } from '../../../runtime/checkpoint/safetensors.ts';

export const refuse = (what: string, advice: string): OpabiniaError => new OpabiniaError(what, { op: 'runs', advice });

/** Values that a dtype holds. Throws `OpabiniaError` for one that would become ∞ in f16. */
export function held(dtype: StoredDType, name: string, values: ArrayLike<number>): ArrayLike<number> {
  if (dtype !== 'F16') return values;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? 0;
    if (Number.isFinite(value) && !Number.isFinite(Math.f16round(value)))
      throw refuse(`'${name}' holds ${value.toPrecision(6)}, and f16 numbers up to 65504`, 'write it with --dtype f32');
  }
  return values;
}
