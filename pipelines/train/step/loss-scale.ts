// Dynamic loss scaling, by the rules of PyTorch's GradScaler: gradients that f16 would round to 0 are made larger, and smaller again.
import { where, type Trace } from '../../../dsl/index.ts';
import type { Scalar } from '../optimizers/optimizer.ts';

export interface LossScaling {
  /** Default 65536. */
  readonly initial?: number | undefined;
  /** Default 2 after 2000 steps in a row without a number that is not finite. */
  readonly growth?: number | undefined;
  readonly interval?: number | undefined;
  /** Default 0.5. */
  readonly backoff?: number | undefined;
}

export const initialScale = 65_536;

/** As in `gradientNorm`: a compiler may take it that a float is never ∞. */
const largest = 3e38;

/** States `scale` and `growth`; without scaling the factor is 1 and there are none. */
export interface LossScale {
  /** What the loss is multiplied by; undefined for 1. */
  readonly scale: Scalar | undefined;
  /** To be told whether the step was applied, once. */
  readonly settle: (applied: Scalar) => void;
}

export function openLossScale(t: Trace, scaling: LossScaling | undefined): LossScale {
  if (scaling === undefined) return { scale: undefined, settle: () => undefined };
  const { growth = 2, interval = 2000, backoff = 0.5 } = scaling;
  const scale = t.state('scale', '', {});
  const run = t.state('growth', '', {});
  return {
    scale,
    settle: (applied) => {
      const isApplied = applied.gt(0.5);
      const longer = run.add(1);
      const grows = longer.ge(interval);
      const grown = scale.mul(growth);
      // From ∞ on every gradient would be skipped for ever, and halves of it are ∞.
      const larger = where(grown.lt(largest), grown, scale);
      t.update(scale, where(isApplied, where(grows, larger, scale), scale.mul(backoff)));
      t.update(run, where(isApplied, where(grows, 0, longer), 0));
    },
  };
}
