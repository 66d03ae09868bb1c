// Stochastic gradient descent as PyTorch has it: decay in the gradient, momentum, dampening, Nesterov.
import { OpabiniaError } from '../../../dsl/index.ts';
import { slotOf, type Optimizer } from './optimizer.ts';
import { checkOptions } from './options.ts';
import { requireOptions } from '../../../dsl/graph/required.ts';

export interface SgdOptions {
  /** Default 0: no buffer is kept. */
  readonly momentum?: number | undefined;
  /** Default 0. */
  readonly dampening?: number | undefined;
  readonly nesterov?: boolean | undefined;
}

/**
 * g ← g + wd·θ; b ← μ·b + (1 − d)·g, at the first step b = g; θ ← θ − lr·b, with Nesterov θ − lr·(g + μ·b).
 * Throws `OpabiniaError` for numbers below 0, and for Nesterov's method without momentum or with dampening.
 * @example const optimizer = sgd({ momentum: 0.9, nesterov: true })
 */
export function sgd(options: SgdOptions = {}): Optimizer {
  requireOptions('sgd', options, 'sgd({ … })');
  const { momentum = 0, dampening = 0, nesterov = false } = options;
  checkOptions('sgd', options, ['momentum', 'dampening', 'nesterov'], {
    momentum: { value: momentum, least: 0 },
    dampening: { value: dampening, least: 0 },
  });
  if (nesterov && (momentum <= 0 || dampening !== 0))
    throw new OpabiniaError("Nesterov's method needs momentum and no dampening", {
      op: 'sgd',
      advice: 'give momentum: 0.9 and leave dampening out',
    });
  return {
    name: 'sgd',
    slots: momentum === 0 ? [] : ['momentum_buffer'],
    settings: { momentum, dampening, nesterov },
    update: (learning, { rate, decay, first }) => {
      const { value, gradient } = learning;
      const g = decay === 0 ? gradient : gradient.add(value.mul(decay));
      if (momentum === 0) return { value: value.sub(g.mul(rate)), slots: new Map() };
      const rolled = slotOf(learning, 'momentum_buffer')
        .mul(momentum)
        .add(dampening === 0 ? g : g.mul(1 - dampening));
      const buffer = g.where(first, rolled);
      const step = nesterov ? g.add(buffer.mul(momentum)) : buffer;
      return { value: value.sub(step.mul(rate)), slots: new Map([['momentum_buffer', buffer]]) };
    },
  };
}
