// Data of both kinds as files, as a person has them: pictures, captions for stage 1, and for stage 2 instructions from several sources, of which one is
// far too many and one answers at length. The recipe makes them when they are not there.
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Turn } from '../../models/sequence/conversation.ts';
import { ask, type Slice } from '../../pipelines/shapes/scene/questions.ts';
import { randomStream } from '../../pipelines/shapes/scene/random.ts';
import { makeScene, scenePresets, type Scene } from '../../pipelines/shapes/scene/scene.ts';
import { preset } from '../shapes/model-config.ts';
import { captionTurns, firstTrained, writeScene } from '../shapes/samples.ts';

export interface DataSizes {
  /** Scenes with a caption, and scenes with questions. */
  readonly captions: number;
  readonly questions: number;
}

/** By file: the questions of a source, and how many of them a picture has. */
const sources: Readonly<Record<string, { readonly slices: readonly Slice[]; readonly each: number }>> = {
  cells: { slices: ['where', 'color'], each: 4 },
  relations: { slices: ['side', 'nearer'], each: 3 },
  // Cheap to make, and so there are too many: what a cap is for.
  counts: { slices: ['count'], each: 4 },
};

export interface RecipeData {
  readonly images: string;
  readonly captions: string;
  readonly cells: string;
  readonly relations: string;
  readonly counts: string;
  /** Answers of whole sentences. */
  readonly descriptions: string;
}

/** The files below `folder`, made when they are not there. */
export async function recipeData(folder: string, sizes: DataSizes): Promise<RecipeData> {
  const images = join(folder, 'images');
  const file = (name: string) => join(folder, `${name}-${sizes.captions}-${sizes.questions}.json`);
  const paths: RecipeData = {
    images,
    captions: file('captions'),
    cells: file('cells'),
    relations: file('relations'),
    counts: file('counts'),
    descriptions: file('descriptions'),
  };
  if (existsSync(paths.descriptions)) return paths;
  mkdirSync(images, { recursive: true });
  const scenes = Array.from({ length: Math.max(sizes.captions, sizes.questions) }, (_, i) =>
    makeScene(scenePresets[preset], firstTrained + i),
  );
  for (const scene of scenes) await writeScene(join(images, pictureOf(scene)), scene);
  write(paths.captions, scenes.slice(0, sizes.captions), (scene) => captionTurns(scene, 0, 'by lot'));
  for (const [name, { slices, each }] of Object.entries(sources))
    write(file(name), scenes.slice(0, sizes.questions), (scene) => asked(scene, name, slices, each));
  write(paths.descriptions, scenes.slice(0, Math.ceil(sizes.questions / 4)), (scene) =>
    captionTurns(scene, 1, 'by lot'),
  );
  return paths;
}

function pictureOf(scene: Scene): string {
  return `${preset}-${scene.seed}.png`;
}

/** Questions and answers about one picture, no question twice. */
function asked(scene: Scene, source: string, slices: readonly Slice[], each: number): readonly Turn[] {
  const random = randomStream(`recipe ${source}`, scene.seed);
  const found = new Map<string, string>();
  for (let i = 0; found.size < each && i < 50; i++) {
    const slice = slices[i % slices.length];
    const question = slice === undefined ? undefined : ask(slice, scene, scenePresets[preset], random);
    if (question !== undefined) found.set(question.text, question.answer);
  }
  return [...found].flatMap(([text, answer], i): readonly Turn[] => [
    { role: 'user', text, ...(i === 0 ? { images: 1 } : {}) },
    { role: 'assistant', text: answer },
  ]);
}

/** In LLaVA's format. */
function write(path: string, scenes: readonly Scene[], turnsOf: (scene: Scene) => readonly Turn[]): void {
  const samples = scenes.flatMap((scene) => {
    const turns = turnsOf(scene);
    if (turns.length === 0) return [];
    return [
      {
        id: pictureOf(scene),
        image: pictureOf(scene),
        conversations: turns.map(({ role, text, images }) => ({
          from: role === 'user' ? 'human' : 'gpt',
          value: images === undefined ? text : `<image>\n${text}`,
        })),
      },
    ];
  });
  writeFileSync(path, JSON.stringify(samples, null, 1));
}
