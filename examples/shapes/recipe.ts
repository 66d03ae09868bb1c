// The small Cambrian learns: its connector and its language model together, on captions, then on independent questions.
// `npx opabinia train examples/shapes/recipe.ts`; then `npx node examples/shapes/ship-model.ts`.
import { join } from 'node:path';
import { adamW } from '../../pipelines/train/optimizers/adamw.ts';
import type { Recipe, Stage } from '../../pipelines/train/recipe/recipe.ts';
import { makeModel } from './make-model.ts';
import { captionTurns, firstTrained, questionTurns, sceneData } from './samples.ts';

const out = join(import.meta.dirname, '../../out');
const { directory } = makeModel(join(out, 'shapes-untrained'));
const scenes = { from: firstTrained, count: 8192 };
const pictures = join(out, 'shapes-pictures');

const learns: Pick<Stage, 'groups' | 'optimizer' | 'schedule' | 'clip'> = {
  groups: [{ paths: ['*'], lr: 2.5e-3 }],
  optimizer: adamW({ betas: [0.9, 0.98] }),
  schedule: { shape: 'cosine', warmup: { ratio: 0.03 } },
  clip: 1,
};

export const recipe: Recipe = {
  name: 'shapes-cambrian',
  model: directory,
  seed: 1,
  stages: [
    {
      ...learns,
      name: 'captions',
      data: sceneData(pictures, { ...scenes, turns: captionTurns }),
      batch: 32,
      steps: 1200,
      length: 64,
      logEvery: 10,
      saveEvery: 100,
    },
    {
      ...learns,
      name: 'questions',
      data: sceneData(pictures, { ...scenes, turns: questionTurns }),
      batch: 32,
      steps: 1000,
      length: 152,
      turns: 'independent',
      logEvery: 10,
      saveEvery: 100,
    },
  ],
};
