// Lion (Chen et al. 2023, arXiv 2302.06675, algorithm 2): the sign of an interpolated momentum.
import { slotOf, type Optimizer } from './optimizer.ts';
import { checkOptions, rateOf } from './options.ts';
import { requireOptions } from '../../../dsl/graph/required.ts';

export interface LionOptions {
  /** Default (0.9, 0.99). */
  readonly betas?: readonly [number, number] | undefined;
}

/**
 * c = β₁m + (1−β₁)g; θ ← θ − lr·(sign c + wd·θ); m ← β₂m + (1−β₂)g. The sign of 0 is 0.
 * Throws `OpabiniaError` for betas that are not from 0 to below 1.
 * @example const optimizer = lion()
 */
export function lion(options: LionOptions = {}): Optimizer {
  requireOptions('lion', options, 'lion({ … })');
  const { betas: [beta1, beta2] = [0.9, 0.99] } = options;
  checkOptions('lion', options, ['betas'], { 'first beta': rateOf(beta1), 'second beta': rateOf(beta2) });
  return {
    name: 'lion',
    slots: ['exp_avg'],
    settings: { beta1, beta2 },
    update: (learning, { rate, decay }) => {
      const { value, gradient } = learning;
      const m = slotOf(learning, 'exp_avg');
      const c = m.mul(beta1).add(gradient.mul(1 - beta1));
      const sign = c.gt(0).cast('f32').sub(c.lt(0).cast('f32'));
      const step = decay === 0 ? sign : sign.add(value.mul(decay));
      return {
        value: value.sub(step.mul(rate)),
        slots: new Map([['exp_avg', m.mul(beta2).add(gradient.mul(1 - beta2))]]),
      };
    },
  };
}
