// Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon): momentum whose singular values are driven towards 1. As torch.optim.Muon
// has it, but for the iteration, which is in f32 here.
import { OpabiniaError, sqrt, type Tensor } from '../../../dsl/index.ts';
import { product, reduceAxes } from '../../../dsl/functions/shape.ts';
import { renamed } from '../../../dsl/tensor.ts';
import { slotOf, type Optimizer, type Value } from './optimizer.ts';
import { checkOptions, rateOf } from './options.ts';
import { requireOptions } from '../../../dsl/graph/required.ts';

export interface MuonOptions {
  /** Default 0.95. */
  readonly momentum?: number | undefined;
  /** Default true. */
  readonly nesterov?: boolean | undefined;
  /** Iterations of Newton and Schulz; default 5. */
  readonly steps?: number | undefined;
}

/** The quintic whose slope at 0 is as steep as can be. */
const [a, b, c] = [3.4445, -4.775, 2.0315];
const eps = 1e-7;

/**
 * For matrices alone: embeddings, biases and norms belong to another optimizer.
 * Throws `OpabiniaError` for a momentum that is not from 0 to below 1, and for no iteration.
 * @example const groups = [{ paths: ['*.fc*.weight'], lr: 0.02, optimizer: muon() }]
 */
export function muon(options: MuonOptions = {}): Optimizer {
  requireOptions('muon', options, 'muon({ … })');
  const { momentum = 0.95, nesterov = true, steps = 5 } = options;
  checkOptions('muon', options, ['momentum', 'nesterov', 'steps'], {
    momentum: rateOf(momentum),
    steps: { value: steps, least: 1, isWhole: true },
  });
  return {
    name: 'muon',
    slots: ['momentum_buffer'],
    rank: 2,
    settings: { momentum, nesterov, steps },
    update: (learning, { rate, decay }) => {
      const { value, gradient } = learning;
      const buffer = slotOf(learning, 'momentum_buffer')
        .mul(momentum)
        .add(gradient.mul(1 - momentum));
      const direction = nesterov ? gradient.mul(1 - momentum).add(buffer.mul(momentum)) : buffer;
      const [rows, columns] = sizesOf(value);
      const scale = Math.sqrt(Math.max(1, rows / columns));
      const kept = decay === 0 ? value : value.sub(value.mul(rate.mul(decay)));
      return {
        value: kept.sub(orthogonalized(direction, steps).mul(rate.mul(scale))),
        slots: new Map([['momentum_buffer', buffer]]),
      };
    },
  };
}

function sizesOf(x: Tensor): readonly [number, number] {
  const [rows, columns] = x.axes.map((axis) => axis.size);
  if (typeof rows !== 'number' || typeof columns !== 'number' || x.axes.length !== 2)
    throw new OpabiniaError(`Muon trains matrices, and this parameter has ${x.axes.length} axes`, {
      op: 'muon',
      path: x.node.origin.path,
      advice: 'put it in a group of another optimizer',
    });
  return [rows, columns];
}

/**
 * Near UVᵀ of the singular value decomposition: X ← aX + (bA + cA²)X with A = XXᵀ over the shorter axis, from X of Frobenius norm 1.
 */
export function orthogonalized(x: Value, steps: number): Value {
  const [rows, columns] = sizesOf(x);
  const names = x.axes.map((axis) => axis.name);
  const [short = ''] = rows <= columns ? names : names.toReversed();
  const [other, third] = [`${short}_2`, `${short}_3`];
  const as = (y: Value, from: string, to: string): Value => renamed('muon', y, new Map([[from, to]]));
  const norm = sqrt(reduceAxes<'', 'f32'>('sum', x.mul(x), names));
  let y: Value = x.div(norm.max(eps));
  for (let i = 0; i < steps; i++) {
    const gram: Value = product('muon', y, as(y, short, other), [short, other]);
    const turned = renamed<string, 'f32'>(
      'muon',
      gram,
      new Map([
        [short, other],
        [other, third],
      ]),
    );
    const square = as(product('muon', gram, turned, [short, third]), third, other);
    const mixed = gram.mul(b).add(square.mul(c));
    y = y.mul(a).add(product('muon', mixed, as(y, short, other), names));
  }
  return y;
}
