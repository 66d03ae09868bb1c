// The small Cambrian answers about a scene that is drawn now: three questions, the truth beside each answer, and where its queries looked.
import { mkdirSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { formatTable } from '../../dsl/text/table.ts';
import { CambrianFamily } from '../../pipelines/answer/families/cambrian.ts';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { Session } from '../../pipelines/answer/session.ts';
import { writeDrawing } from '../../pipelines/shapes/report/write-picture.ts';
import { drawScene } from '../../pipelines/shapes/scene/draw.ts';
import { questionsOf } from '../../pipelines/shapes/scene/questions.ts';
import { makeScene, scenePresets } from '../../pipelines/shapes/scene/scene.ts';
import type { Device } from '../../runtime/device/device.ts';
import { pictureOf } from './judge-model.ts';
import { looksOf, type Look } from './look.ts';
import { preset } from './model-config.ts';
import { learnedSlices } from './samples.ts';

/** The model that comes with the repository. */
export const shippedModel = join(import.meta.dirname, 'model');

export function isShipped(): boolean {
  return existsSync(join(shippedModel, 'model.safetensors'));
}

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
    const rows: string[][] = [];
    try {
      for (const { text, answer } of questionsOf(scene, wanted, { among: learnedSlices })) {
        let said = '';
        for await (const words of session.answer({ text, images: [image] }, { maxNewTokens: 6 })) said += words;
        rows.push([text, said.trim(), answer, said.trim() === answer ? 'right' : 'wrong']);
      }
    } finally {
      session.dispose();
    }
    const { family } = model;
    if (family instanceof CambrianFamily) {
      const looks = await looksOf(model, family.model, device, image);
      await writeDrawing('out/looks.png', looksSvg(`data:image/png;base64,${png.toString('base64')}`, looks));
    }
    return [
      formatTable([{ title: 'question' }, { title: 'answer' }, { title: 'truth' }, { title: '' }], rows),
      'out/scene.png is the scene, out/looks.png where the queries of the connector looked, encoder by encoder',
      `\`npm run -s opabinia -- draw "red square left of blue disc" --out scene.png\` draws another, \`npm run -s opabinia -- run ${directory} --image scene.png --prompt "…"\` answers about it`,
    ];
  } finally {
    model.close();
  }
}

const panel = 384;

function looksSvg(picture: string, looks: readonly Look[]): string {
  const width = panel * (looks.length + 1) + 16 * looks.length;
  const panels = looks.map(({ side, weights }, k) => {
    const left = (k + 1) * (panel + 16);
    const most = Math.max(1e-9, ...weights);
    const cells = weights.map((weight, i) => {
      const [x, y] = [left + ((i % side) * panel) / side, (Math.floor(i / side) * panel) / side];
      return `<rect x="${x.toFixed(2)}" y="${y.toFixed(2)}" width="${(panel / side).toFixed(2)}" height="${(panel / side).toFixed(2)}" fill="#000" fill-opacity="${(0.85 * (1 - weight / most)).toFixed(3)}"/>`;
    });
    return `<image href="${picture}" x="${left}" width="${panel}" height="${panel}" style="image-rendering:pixelated"/>${cells.join('')}`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${panel}" viewBox="0 0 ${width} ${panel}"><image href="${picture}" width="${panel}" height="${panel}" style="image-rendering:pixelated"/>${panels.join('')}</svg>`;
}
