// The small Cambrian learns: its connector and its language model together, on a caption and independent questions about each scene.
// `npx opabinia train examples/shapes/recipe.ts`; then `npx node examples/shapes/ship-model.ts`.
import { join } from 'node:path';
import { adamW } from '../../pipelines/train/optimizers/adamw.ts';
import { muon } from '../../pipelines/train/optimizers/muon.ts';
import type { Recipe } from '../../pipelines/train/recipe/recipe.ts';
import { makeModel } from './make-model.ts';
import { firstTrained, lessons, sceneData, sceneTurns } from './samples.ts';

const out = join(import.meta.dirname, '../../out');
const { directory } = makeModel(join(out, 'shapes-untrained'));
const count = 8192;
const pictures = join(out, 'shapes-pictures');

/** What maps features, in the connector and in the language model. Muon on these, AdamW on the rest, reached after 400 steps what AdamW alone had after 700 to 800. */
const matrices = [
  '*_proj.weight',
  '*_proj*.1.weight',
  'proj_in.weight',
  'proj_context.weight',
  'linear_?.weight',
  'mm_projector*.0.weight',
  'mm_projector*.2.weight',
];

const groupsAt = (factor: number) => [
  { paths: matrices, lr: 0.01 * factor, optimizer: muon() },
  { paths: ['*'], lr: 2.5e-3 * factor },
];

const common = {
  optimizer: adamW({ betas: [0.9, 0.98] }),
  schedule: { shape: 'cosine', warmup: { ratio: 0.03 } },
  clip: 1,
  batch: 16,
  length: 160,
  turns: 'independent',
  logEvery: 10,
  saveEvery: 100,
} as const;

export const recipe: Recipe = {
  name: 'shapes-cambrian',
  model: directory,
  seed: 1,
  stages: [
    {
      ...common,
      name: 'scenes',
      groups: groupsAt(1),
      data: sceneData(pictures, {
        from: firstTrained,
        count,
        turns: (scene, epoch) => sceneTurns(scene, epoch, lessons.places),
      }),
      steps: 2000,
    },
    {
      ...common,
      name: 'depth',
      groups: groupsAt(0.5),
      data: sceneData(pictures, {
        from: firstTrained + count,
        count,
        turns: (scene, epoch) => sceneTurns(scene, epoch, lessons.depth),
      }),
      steps: 800,
    },
  ],
};
