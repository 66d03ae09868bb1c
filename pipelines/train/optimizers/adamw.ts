// AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101): decay beside the gradient, bias correction as in PyTorch.
import { sqrt } from '../../../dsl/index.ts';
import { slotOf, type Optimizer } from './optimizer.ts';
import { checkOptions, epsOf, rateOf } from './options.ts';
import { requireOptions } from '../../../dsl/graph/required.ts';

export interface AdamWOptions {
  /** Default (0.9, 0.999). */
  readonly betas?: readonly [number, number] | undefined;
  /** Default 1e-8. */
  readonly eps?: number | undefined;
}

/**
 * θ ← θ·(1 − lr·wd) − lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε).
 * Throws `OpabiniaError` for betas that are not from 0 to below 1, and for an eps that f32 does not hold.
 * @example const optimizer = adamW({ betas: [0.9, 0.98] })
 */
export function adamW(options: AdamWOptions = {}): Optimizer {
  requireOptions('adamW', options, 'adamW({ … })');
  const { betas: [beta1, beta2] = [0.9, 0.999], eps = 1e-8 } = options;
  checkOptions('adamW', options, ['betas', 'eps'], {
    'first beta': rateOf(beta1),
    'second beta': rateOf(beta2),
    eps: epsOf(eps),
  });
  return {
    name: 'adamw',
    slots: ['exp_avg', 'exp_avg_sq'],
    settings: { beta1, beta2, eps },
    update: (learning, { rate, decay, correction }) => {
      const { value, gradient } = learning;
      const m = slotOf(learning, 'exp_avg')
        .mul(beta1)
        .add(gradient.mul(1 - beta1));
      const v = slotOf(learning, 'exp_avg_sq')
        .mul(beta2)
        .add(gradient.mul(gradient).mul(1 - beta2));
      const spread = sqrt(v)
        .div(sqrt(correction(beta2)))
        .add(eps);
      const kept = decay === 0 ? value : value.sub(value.mul(rate.mul(decay)));
      return {
        value: kept.sub(m.div(spread).mul(rate.div(correction(beta1)))),
        slots: new Map([
          ['exp_avg', m],
          ['exp_avg_sq', v],
        ]),
      };
    },
  };
}
