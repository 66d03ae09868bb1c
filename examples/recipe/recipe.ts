// The whole recipe at small size; docs/recipe.md has it for a project of one's own: stage 1 on captions, stage 2 on a balanced mixture of instructions.
// `npx node examples/recipe/run.ts` trains and judges after each stage; `npx opabinia train examples/recipe/recipe.ts` trains alone.
import { join } from 'node:path';
import { responseFormats } from '../../pipelines/train/data/response-formats.ts';
import { adamW } from '../../pipelines/train/optimizers/adamw.ts';
import type { Recipe, Stage } from '../../pipelines/train/recipe/recipe.ts';
import { makeModel } from '../shapes/make-model.ts';
import { recipeData } from './data.ts';

const out = join(import.meta.dirname, '../../out');
const data = await recipeData(join(out, 'recipe-data'), { captions: 2048, questions: 2048 });
// The small Cambrian of `examples/shapes`, which knows no word yet. Yours: a model directory, or what `opabinia assemble` has put together.
const { directory: model } = makeModel(join(out, 'shapes-untrained'));

const learns: Pick<Stage, 'optimizer' | 'schedule' | 'clip' | 'batch' | 'logEvery' | 'saveEvery'> = {
  optimizer: adamW({ betas: [0.9, 0.98] }),
  schedule: { shape: 'cosine', warmup: { ratio: 0.03 } },
  clip: 1,
  batch: 32,
  logEvery: 20,
  saveEvery: 100,
};

export const recipe: Recipe = {
  name: 'whole-recipe',
  model,
  seed: 1,
  stages: [
    {
      ...learns,
      name: 'captions',
      // With a language model that can speak, the connector alone: `cambrianStage1({ data, batch })`.
      groups: [{ paths: ['*'], lr: 6e-3 }],
      data: { file: data.captions, images: data.images },
      steps: 800,
      length: 64,
    },
    {
      ...learns,
      name: 'instructions',
      groups: [{ paths: ['*'], lr: 4e-3 }],
      // Each question of a picture as if it were asked alone; the picture stands there once.
      turns: 'independent',
      data: {
        // Questions that are answered in a word say so, or the model answers everything in a word: Cambrian-1's answer machine.
        mixture: [
          { file: data.cells, images: data.images, category: 'cells', format: responseFormats.phrase },
          { file: data.relations, images: data.images, category: 'relations', format: responseFormats.phrase },
          { file: data.counts, images: data.images, category: 'counts', format: responseFormats.phrase },
          { file: data.descriptions, images: data.images, category: 'descriptions' },
        ],
        // Of counts there are as many as of anything else, and they are learned first.
        cap: 1500,
        shares: { cells: 40, relations: 40, counts: 10, descriptions: 10 },
      },
      steps: 1600,
      length: 152,
    },
  ],
};
