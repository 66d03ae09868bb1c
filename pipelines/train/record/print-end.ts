// The last line of a training.
import type { StageResult } from '../run/loop.ts';

export interface EndedTraining {
  readonly folder: string;
  readonly stages: readonly StageResult[];
  /** It had ended before. */
  readonly finished: boolean;
}

/** In which of `count` stages a training ended, and how far in it; undefined where there was no stage. */
export function printEnd({ folder, finished, stages }: EndedTraining, count: number): string | undefined {
  const last = stages.at(-1);
  if (last === undefined) return undefined;
  const { ended, position, total, loss } = last;
  const stage = count === 1 ? '' : `stage ${position.stage + 1} of ${count}, `;
  return `${finished ? `${folder} is finished` : ended}: ${stage}step ${position.step} of ${total}, loss ${loss.toFixed(4)}`;
}
