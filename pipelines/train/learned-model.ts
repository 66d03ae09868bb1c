// A model as a run has made it: its own weights, and over them those that the stages have learned.
import { isBelow } from '../../models/configs/param-shapes.ts';
import type { OpenedModel } from '../answer/open-model.ts';
import type { Stage } from './recipe/recipe.ts';
import { learnedSource } from './run/learned-source.ts';
import { stageWeights } from './run/stage-weights.ts';

export interface LearnedModel extends OpenedModel {
  /** Whether any stage changed the parameter. */
  readonly isLearned: (path: string) => boolean;
}

/** The model with what the first `count` of `stages` of the run in `folder` have learned; closing it closes both. Throws `OpabiniaError` for weights that are missing. */
export function withLearned(
  opened: OpenedModel,
  folder: string | undefined,
  count: number,
  stages: readonly Pick<Stage, 'lora'>[],
): LearnedModel {
  const paths = folder === undefined ? [] : stageWeights(folder, count);
  if (paths.length === 0) return { ...opened, isLearned: () => false };
  const source = learnedSource(
    opened.source,
    paths.map((path, i) => ({ path, lora: stages[i]?.lora })),
  );
  // What is kept of towers is kept by the files of their weights.
  const learnedBelow = (root: string): boolean => root !== '' && source.learned.some((name) => isBelow(name, root));
  return {
    ...opened,
    source,
    isLearned: (path) => source.isLearned(path),
    read: [
      ...opened.read,
      ...opened.read.flatMap(({ root }) => (learnedBelow(root) ? paths.map((path) => ({ root, path })) : [])),
    ],
    close: () => {
      source.close();
      opened.close();
    },
  };
}
