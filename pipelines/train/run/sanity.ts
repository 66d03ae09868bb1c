// `--sanity`: one batch, again and again, until it is known by heart. A model that cannot do that cannot learn anything.
import { OpabiniaError } from '../../../dsl/error.ts';
import type { StageResult, StageRun } from './loop.ts';
import { openLoop } from './train-stage.ts';

/** Loss that must be reached, and the steps that it may take. */
export const sanityLoss = 0.05;
const mostSteps = 400;

/** What rates are multiplied by where the loss falls, where it hardly falls, and where it rises by more than noise. */
const [falling, slow, rising] = [1.1, 2, 0.5];
/** Shares of the loss: a fall that is hardly one, a rise that is more than noise. */
const [hardly, noise] = [0.02, 0.05];

/**
 * Nothing is saved. Rates are found by the way, from those of the groups on, whose ratios stay: raised while the loss falls, halved where
 * it rises (the bold driver: Vogl et al. 1988, Biological Cybernetics 59); whether a published rate is right for this batch is not asked.
 * Throws `OpabiniaError` when the loss stays above 0.05.
 */
export async function sanity(run: Omit<StageRun, 'folder' | 'total' | 'count' | 'stopped'>): Promise<StageResult> {
  const loop = await openLoop({ ...run, stage: { ...run.stage, schedule: { shape: 'constant' } } });
  try {
    const losses: number[] = [];
    let factor = 1;
    for (let step = 1; step <= mostSteps; step++) {
      const loss = await loop.repeat(factor);
      if (step % 20 === 0 || loss < sanityLoss)
        run.print(`one batch, step ${step}: loss ${loss.toFixed(4)}, rates × ${factor.toPrecision(3)}`);
      if (loss < sanityLoss)
        return { position: { stage: run.index, step, samples: 0, tokens: 0 }, ended: 'done', total: step, loss };
      const before = losses.at(-1) ?? loss;
      factor *= loss > before * (1 + noise) ? rising : loss > before * (1 - hardly) ? slow : falling;
      losses.push(loss);
    }
    throw new OpabiniaError(
      `after ${mostSteps} steps on one batch the loss is ${losses.at(-1)?.toFixed(4) ?? 'unknown'}, at best ${Math.min(...losses).toFixed(4)}, from ${losses[0]?.toFixed(4) ?? 'unknown'}; it should be under ${sanityLoss}`,
      {
        op: 'sanity',
        advice:
          'where the loss does not fall at all, look at labels and frozen groups; where it falls slowly, let more learn',
      },
    );
  } finally {
    loop.close();
  }
}
