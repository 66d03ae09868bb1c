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

/** `Describe the picture.` `red disc a2, …`, by lot, otherwise each epoch, or the nearest first. The cell stands right behind the shape: with `in` between them it took a sixth more steps. */
export function captionTurns(scene: Scene, epoch: number, order: 'by lot' | 'nearest first'): readonly Turn[] {
  const objects =
    order === 'by lot'
      ? shuffled(randomStream(`caption ${scene.seed}`, epoch), scene.objects)
      : scene.objects.toSorted((a, b) => b.radius - a.radius);
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

/** What a scene is a lesson of: the order of its caption, and what is asked, more of what takes longest to learn. */
export interface Lesson {
  readonly caption: 'by lot' | 'nearest first';
  readonly asked: readonly Slice[];
}

export const lessons = {
  places: { caption: 'by lot', asked: ['where', 'where', 'color', 'side', 'side', 'count', 'nearer'] },
  // No size was ever looked at while only one question in seven was about it; an order of the caption asks for it with every shape.
  depth: { caption: 'nearest first', asked: ['where', 'color', 'side', 'count', 'nearer', 'nearer', 'nearer'] },
} as const satisfies Readonly<Record<string, Lesson>>;

/** A caption, then questions: other ones each epoch. */
export function sceneTurns(scene: Scene, epoch: number, { caption, asked: among }: Lesson): readonly Turn[] {
  return [
    ...captionTurns(scene, epoch, caption),
    ...questionsOf(scene, among.length, { among, round: epoch }).flatMap(({ text, answer }): readonly Turn[] => [
      { role: 'user', text },
      { role: 'assistant', text: answer },
    ]),
  ];
}
