// Drawn scenes as samples in LLaVA's format: a caption and questions about each.
import { existsSync, mkdirSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import type { Turn } from '../../models/sequence/conversation.ts';
import type { LlavaSample } from '../../pipelines/train/data/llava-file.ts';
import type { DataSet } from '../../pipelines/train/recipe/recipe.ts';
import { drawScene } from '../../pipelines/shapes/scene/draw.ts';
import { nameOf, questionsOf, slices, type Slice } from '../../pipelines/shapes/scene/questions.ts';
import { randomStream, shuffled } from '../../pipelines/shapes/scene/random.ts';
import { cellName, cellOf, makeScene, scenePresets, type Scene } from '../../pipelines/shapes/scene/scene.ts';
import { preset } from './model-config.ts';

/** Scenes of training begin here; what is held out stands before. */
export const firstTrained = 1_000_000;

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

/** `Describe the picture.` `red disc a2, …`, in an order of lots, other ones each epoch. The cell stands right behind the shape: with `in` between them it took a sixth more steps. */
export function captionTurns(scene: Scene, epoch: number): readonly Turn[] {
  const objects = shuffled(randomStream(`caption ${scene.seed}`, epoch), scene.objects);
  const text = objects
    .map((object) => `${nameOf(object)} ${cellName(cellOf(object, scenePresets[preset]))}`)
    .join(', ');
  return [
    { role: 'user', text: 'Describe the picture.', images: 1 },
    { role: 'assistant', text },
  ];
}

/** What the model learns to answer. Signs are left out: four pixels wide, they would take most of the training for themselves. */
export const learnedSlices: readonly Slice[] = slices.filter((slice) => slice !== 'sign');

/** What is asked of each scene: more of what takes longest to learn. */
const asked: readonly Slice[] = ['where', 'where', 'color', 'side', 'side', 'count', 'nearer'];

/** A caption, then seven questions: other ones each epoch. */
export function sceneTurns(scene: Scene, epoch: number): readonly Turn[] {
  return [
    ...captionTurns(scene, epoch),
    ...questionsOf(scene, asked.length, { among: asked, round: epoch }).flatMap(({ text, answer }): readonly Turn[] => [
      { role: 'user', text },
      { role: 'assistant', text: answer },
    ]),
  ];
}
