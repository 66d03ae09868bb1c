// Learning rates over the steps of a run, as Hugging Face's `get_scheduler` has them.
import { OpabiniaError } from '../../../dsl/index.ts';

export interface Schedule {
  readonly shape: 'cosine' | 'linear' | 'constant';
  /** Steps in which the rate rises from 0, or their share of all steps, rounded up. */
  readonly warmup?: { readonly steps: number } | { readonly ratio: number } | undefined;
}

/** Steps of the warm-up in a run of `total` steps. */
export function warmupSteps({ warmup }: Schedule, total: number): number {
  if (warmup === undefined) return 0;
  return 'steps' in warmup ? warmup.steps : Math.ceil(total * warmup.ratio);
}

/**
 * What the rate of a group is multiplied by at a step, counted from 0: with a warm-up the first step has the rate 0. `cosine` and
 * `linear` fall to 0 at `total`.
 */
export function rateFactor(schedule: Schedule, step: number, total: number): number {
  const warm = warmupSteps(schedule, total);
  if (!(step >= 0) || !(warm >= 0))
    throw new OpabiniaError(`there is no step ${step} in a warm-up of ${warm} steps`, { op: 'schedule' });
  if (step < warm) return step / Math.max(1, warm);
  const done = Math.min(1, (step - warm) / Math.max(1, total - warm));
  switch (schedule.shape) {
    case 'constant':
      return 1;
    case 'linear':
      return 1 - done;
    case 'cosine':
      return Math.max(0, 0.5 * (1 + Math.cos(Math.PI * done)));
    default:
      return schedule.shape satisfies never;
  }
}

/** Cambrian's rule for another batch than the one that a rate was found with: lr · √(batch / base). */
export function rateForBatch(lr: number, batch: number, base: number): number {
  return lr * Math.sqrt(batch / base);
}
