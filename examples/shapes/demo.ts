// The small Cambrian answers about a scene that is drawn now: three questions, the truth beside each answer, where its queries looked, and where each answer came from.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { formatTable } from '../../dsl/text/table.ts';
import { CambrianFamily } from '../../pipelines/answer/families/cambrian.ts';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { Session } from '../../pipelines/answer/session.ts';
import { writeDrawing } from '../../pipelines/plot/write-drawing.ts';
import { drawScene } from '../../pipelines/shapes/scene/draw.ts';
import { questionsOf } from '../../pipelines/shapes/scene/questions.ts';
import { makeScene, scenePresets } from '../../pipelines/shapes/scene/scene.ts';
import type { Device } from '../../runtime/device/device.ts';
import { pictureOf } from './judge-model.ts';
import { answerLooks } from './answer-look.ts';
import { looksSvg } from './draw-looks.ts';
import { looksOf } from './look.ts';
import { preset } from './model-config.ts';
import { learnedSlices } from './samples.ts';

/** The model that comes with the repository. */
export const shippedModel = join(import.meta.dirname, 'model');

export interface ShapesDemo {
  readonly device: Device;
  readonly progress: (text: string) => void;
  readonly directory?: string | undefined;
  /** Of the scene; held-out scenes are below a million. */
  readonly seed?: number | undefined;
}

const wanted = 3;

/** Lines for stdout; the scene and the looks are written to `out/`. */
export async function shapesDemo({
  device,
  progress,
  directory = shippedModel,
  seed = 7,
}: ShapesDemo): Promise<readonly string[]> {
  const scene = makeScene(scenePresets[preset], seed);
  const image = pictureOf(scene);
  mkdirSync('out', { recursive: true });
  const { rgb, width, height } = drawScene(scene);
  const png = await sharp(rgb, { raw: { width, height, channels: 3 } })
    .png()
    .toBuffer();
  await sharp(png).toFile('out/scene.png');
  const model = await openModel(directory);
  try {
    const session = await Session.open(model, device, { context: 96, images: 1, note: progress });
    const answered: { readonly question: string; readonly answer: string; readonly truth: string }[] = [];
    try {
      for (const { text, answer } of questionsOf(scene, wanted, { among: learnedSlices })) {
        let said = '';
        for await (const words of session.answer({ text, images: [image] }, { maxNewTokens: 6 })) said += words;
        answered.push({ question: text, answer: said.trim(), truth: answer });
      }
    } finally {
      session.dispose();
    }
    const { family } = model;
    if (family instanceof CambrianFamily) {
      progress('finding out where the queries and the answers looked');
      const queries = await looksOf(model, family.model, device, image);
      const looks = await answerLooks(model, family, device, { folder: 'out', image: 'scene.png' }, answered);
      const rows = [{ looks: queries }, ...answered.map((one, i) => ({ looks: looks[i] ?? [], answered: one }))];
      const picture = `data:image/png;base64,${png.toString('base64')}`;
      await writeDrawing('out/looks.png', looksSvg(picture, rows, family.model.config.connector.side));
    }
    const rows = answered.map(({ question, answer, truth }) => [
      question,
      answer,
      truth,
      answer === truth ? 'right' : 'wrong',
    ]);
    return [
      formatTable([{ title: 'question' }, { title: 'answer' }, { title: 'truth' }, { title: '' }], rows),
      'out/scene.png is the scene, out/looks.png where each query of the connector looked, and what of each encoder’s map moved each answer',
      `\`npm run -s opabinia -- draw "red square left of blue disc" --out scene.png\` draws another, \`npm run -s opabinia -- run ${directory} --image scene.png --prompt "…"\` answers about it`,
    ];
  } finally {
    model.close();
  }
}
