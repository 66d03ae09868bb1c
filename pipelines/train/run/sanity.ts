// `--sanity`: one batch, again and again, until it is known by heart. A model that cannot do that cannot learn anything.
import { OpabiniaError } from '../../../dsl/error.ts';
import type { StageResult, StageRun } from './loop.ts';
import { openLoop } from './train-stage.ts';

/** Loss that must be reached, and the steps that it may take. */
export const sanityLoss = 0.05;
const mostSteps = 400;

/** Nothing is saved. Throws `OpabiniaError` when the loss stays above 0.05. */
export async function sanity(run: Omit<StageRun, 'folder' | 'total' | 'count' | 'stopped'>): Promise<StageResult> {
  const loop = await openLoop({ ...run, stage: { ...run.stage, schedule: { shape: 'constant' } } });
  try {
    const losses: number[] = [];
    for (let step = 1; step <= mostSteps; step++) {
      const loss = await loop.repeat();
      losses.push(loss);
      if (step % 20 === 0 || loss < sanityLoss) run.print(`one batch, step ${step}: loss ${loss.toFixed(4)}`);
      if (loss < sanityLoss)
        return { position: { stage: run.index, step, samples: 0, tokens: 0 }, ended: 'done', loss };
    }
    throw new OpabiniaError(
      `after ${mostSteps} steps on one batch the loss is ${losses.at(-1)?.toFixed(4) ?? 'unknown'}, from ${losses[0]?.toFixed(4) ?? 'unknown'}; it should be under ${sanityLoss}`,
      {
        op: 'sanity',
        advice: 'raise the rate (--set lr=1e-3); if the loss does not fall at all, look at labels and frozen groups',
      },
    );
  } finally {
    loop.close();
  }
}
