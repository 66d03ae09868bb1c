// Drawn scenes as samples in LLaVA's format: captions for the first stage, conversations of eight questions for the second.
import { existsSync, mkdirSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import type { Turn } from '../../models/sequence/conversation.ts';
import type { LlavaSample } from '../../pipelines/train/data/llava-file.ts';
import type { DataSet } from '../../pipelines/train/recipe/recipe.ts';
import { drawScene } from '../../pipelines/shapes/scene/draw.ts';
import { questionsOf } from '../../pipelines/shapes/scene/questions.ts';
import { randomStream, shuffled } from '../../pipelines/shapes/scene/random.ts';
import { cellName, cellOf, makeScene, scenePresets, type Scene } from '../../pipelines/shapes/scene/scene.ts';
import { preset } from './model-config.ts';

/** Scenes of training begin here; what is held out stands before. */
export const firstTrained = 1_000_000;
const questions = 8;

/** The pictures of `count` scenes again and again: as files, since a recipe reads files. */
export function sceneData(
  folder: string,
  {
    from,
    count,
    turns,
  }: {
    readonly from: number;
    readonly count: number;
    readonly turns: (scene: Scene, epoch: number) => readonly Turn[];
  },
): DataSet {
  mkdirSync(folder, { recursive: true });
  async function* samples(): AsyncGenerator<LlavaSample> {
    for (let i = 0; ; i++) {
      const scene = makeScene(scenePresets[preset], from + (i % count));
      const image = `${preset}-${scene.seed}.png`;
      await writeScene(join(folder, image), scene);
      const own = turns(scene, Math.floor(i / count));
      yield { image, turns: own, length: own.reduce((sum, { text }) => sum + text.split(' ').length, 0) };
    }
  }
  return { samples, count, images: folder };
}

/** A picture of a scene, whole or not there. */
export async function writeScene(path: string, scene: Scene): Promise<void> {
  if (existsSync(path)) return;
  const { rgb, width, height } = drawScene(scene);
  const partial = `${path}.${process.pid}.partial`;
  await sharp(rgb, { raw: { width, height, channels: 3 } })
    .png()
    .toFile(partial);
  await rename(partial, path);
}

/** `Describe the picture.` `red disc a 2, …`, in an order of lots: each epoch teaches all cells. */
export function captionTurns(scene: Scene, epoch: number): readonly Turn[] {
  const objects = shuffled(randomStream(`caption ${scene.seed}`, epoch), scene.objects);
  const text = objects
    .map((object) => `${object.color} ${object.kind} in ${cellName(cellOf(object, scenePresets[preset]))}`)
    .join(', ');
  return [
    { role: 'user', text: 'Describe the picture.', images: 1 },
    { role: 'assistant', text },
  ];
}

/** Eight questions and their answers; another order each epoch, so that every kind comes first. */
export function questionTurns(scene: Scene, epoch: number): readonly Turn[] {
  return shuffled(randomStream(`order ${scene.seed}`, epoch), questionsOf(scene, questions)).flatMap(
    ({ text, answer }, i): readonly Turn[] => [
      { role: 'user', text, ...(i === 0 ? { images: 1 } : {}) },
      { role: 'assistant', text: answer },
    ],
  );
}
