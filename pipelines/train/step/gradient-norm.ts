// The norm of all gradients together, and how they are clipped to it.
import { isNaN, sqrt, type Tensor, type Trace } from '../../../dsl/index.ts';
import { reduceAxes } from '../../../dsl/functions/shape.ts';
import type { Scalar } from '../optimizers/optimizer.ts';

export interface GradientNorm {
  readonly norm: Scalar;
  /** False when a gradient holds NaN or ∞, or is so large that its square does. */
  readonly finite: Tensor<'', 'bool'>;
}

/** Largest sum of squares that counts as finite: compilers may take it that a float is never ∞, so the comparison is with a number. */
const largest = 3e38;

/** From Σ g² of each gradient. */
export function gradientNorm(squares: Tensor<'p', 'f32'>): GradientNorm {
  const total = reduceAxes<'', 'f32'>('sum', squares, ['p']);
  return { norm: sqrt(total), finite: total.lt(largest).and(isNaN(total).not()) };
}

/** What gradients are multiplied by so that their norm is at most `most`: `clip_grad_norm_` of PyTorch, min(1, most / (norm + 1e-6)). */
export function clipFactor(t: Trace, norm: Scalar, most: number): Scalar {
  return t.constant(most, '', {}).div(norm.add(1e-6)).min(1);
}
