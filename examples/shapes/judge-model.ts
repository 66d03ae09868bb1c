// Held-out questions to a model directory, each in a conversation of its own, and how many it answers right.
import { openModel } from '../../pipelines/answer/open-model.ts';
import { Session } from '../../pipelines/answer/session.ts';
import { drawScene } from '../../pipelines/shapes/scene/draw.ts';
import { questionsOf, type Slice } from '../../pipelines/shapes/scene/questions.ts';
import { makeScene, scenePresets } from '../../pipelines/shapes/scene/scene.ts';
import type { Device } from '../../runtime/device/device.ts';
import type { Image } from '../../runtime/image/image.ts';
import { preset } from './model-config.ts';
import { learnedSlices } from './samples.ts';

export interface Score {
  readonly right: number;
  readonly asked: number;
}

export interface ModelScore {
  readonly all: Score;
  readonly slices: ReadonlyMap<Slice, Score>;
}

const perScene = 8;

/** `blind`: every question about a gray picture instead of its own. `format`: a sentence behind each. Scenes are those from 0 on. */
export async function judgeModel(
  directory: string,
  device: Device,
  count: number,
  { blind = false, format }: { readonly blind?: boolean; readonly format?: string } = {},
): Promise<ModelScore> {
  const found = new Map<Slice, { right: number; asked: number }>(
    learnedSlices.map((slice) => [slice, { right: 0, asked: 0 }]),
  );
  const model = await openModel(directory);
  try {
    const session = await Session.open(model, device, { context: 96, images: 1 });
    try {
      for (let i = 0; i < count; i++) {
        const scene = makeScene(scenePresets[preset], Math.floor(i / perScene));
        const question = questionsOf(scene, perScene, { among: learnedSlices })[i % perScene];
        const score = question === undefined ? undefined : found.get(question.slice);
        if (question === undefined || score === undefined) continue;
        let answer = '';
        const images = [blind ? gray() : pictureOf(scene)];
        for await (const words of session.answer(
          { text: format === undefined ? question.text : `${question.text}\n${format}`, images },
          { maxNewTokens: 6 },
        ))
          answer += words;
        score.asked++;
        if (answer.trim() === question.answer) score.right++;
      }
    } finally {
      session.dispose();
    }
  } finally {
    model.close();
  }
  const all = [...found.values()].reduce(
    (sum, { right, asked }) => ({ right: sum.right + right, asked: sum.asked + asked }),
    { right: 0, asked: 0 },
  );
  return { all, slices: found };
}

export function pictureOf(scene: Parameters<typeof drawScene>[0]): Image {
  const { rgb, width, height } = drawScene(scene);
  return { rgb, width, height };
}

function gray(): Image {
  const { side } = scenePresets[preset];
  return { rgb: new Uint8Array(side * side * 3).fill(110), width: side, height: side };
}
