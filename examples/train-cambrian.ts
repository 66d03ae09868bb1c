// Cambrian's two stages on the small made Cambrian, in a minute or two on any machine:
// `npx opabinia train examples/train-cambrian.ts`. The answers are made up; the photograph is `examples/photos/chelsea.png`.
import { join } from 'node:path';
import type { LlavaSample } from '../pipelines/train/data/llava-file.ts';
import { cambrianStage1, cambrianStage2 } from '../pipelines/train/recipe/cambrian.ts';
import type { DataSet, Recipe } from '../pipelines/train/recipe/recipe.ts';
import { makeCheckpoint } from './make-checkpoint.ts';

const { directory } = makeCheckpoint(join(import.meta.dirname, '../out/checkpoint'));

const lines = [
  ['What is in this picture?', 'A cat.'],
  ['What color is it?', 'Red and white.'],
  ['Where does it look?', 'At the camera.'],
  ['Is there a dog?', 'No.'],
] as const;

async function* samples(): AsyncGenerator<LlavaSample> {
  for (let i = 0; ; i++) {
    const [question = '', answer = ''] = lines[i % lines.length] ?? [];
    yield {
      image: 'chelsea.png',
      length: 8,
      turns: [
        { role: 'user', text: question, images: 1 },
        { role: 'assistant', text: answer },
      ],
    };
  }
}

const data: DataSet = { samples, count: lines.length, images: join(import.meta.dirname, 'photos') };
const small = { data, batch: 2, steps: 4, length: 320, saveEvery: 2 };

/** The released rates are for 512 samples a step: √(2/512) of them here. */
export const recipe: Recipe = {
  name: 'cambrian-small',
  model: directory,
  seed: 1,
  stages: [
    { ...cambrianStage1(small), logEvery: 1 },
    { ...cambrianStage2(small), logEvery: 1 },
  ],
};
