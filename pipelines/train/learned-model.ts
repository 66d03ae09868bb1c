// A model as a run has made it: its own weights, and over them those that the stages have learned.
import type { OpenedModel } from '../answer/open-model.ts';
import type { Stage } from './recipe/recipe.ts';
import { learnedSource } from './run/learned-source.ts';
import { stageWeights } from './run/stage-weights.ts';

/** The model with what the first `count` of `stages` of the run in `folder` have learned; closing it closes both. Throws `OpabiniaError` for weights that are missing. */
export function withLearned(
  opened: OpenedModel,
  folder: string | undefined,
  count: number,
  stages: readonly Pick<Stage, 'lora'>[],
): OpenedModel {
  const paths = folder === undefined ? [] : stageWeights(folder, count);
  if (paths.length === 0) return opened;
  const source = learnedSource(
    opened.source,
    paths.map((path, i) => ({ path, lora: stages[i]?.lora })),
  );
  return {
    ...opened,
    source,
    close: () => {
      source.close();
      opened.close();
    },
  };
}
