// Directories as public bug reports describe them: opened as they are, and what is answered about is the right thing.
import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, describe, expect, test } from 'vitest';
import { makeLlava } from '../../examples/make-llava.ts';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { readJsonFile } from '../../runtime/checkpoint/hub.ts';
import { decodeImage, type Image } from '../../runtime/image/image.ts';
import { editJson, rewriteWeights } from '../support/edit-directory.ts';
import { makeLanguage } from '../support/made-language.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-reports-'));
afterAll(() => rmSync(root, { recursive: true }));
const llava = join(root, 'llava');
makeLlava(llava);
const language = makeLanguage(join(root, 'language'), 'llama');

let count = 0;
function copyOf(directory: string): string {
  const copy = join(root, `copy${count++}`);
  cpSync(directory, copy, { recursive: true });
  return copy;
}
/** Pixels of the first view that a question about `image` causes. */
async function pixelsOf(directory: string, image: Image): Promise<Float32Array> {
  const model = await openModel(directory);
  try {
    const laid = await model.family.layOut([{ text: 'a', images: [image] }], {});
    const pixels = laid.views[0]?.inputs()['pixels'];
    if (!(pixels instanceof Float32Array)) throw new Error('pixels are f32');
    return pixels;
  } finally {
    model.close();
  }
}

describe('transformers 5 saved over an older directory', () => {
  const picture: Image = { width: 56, height: 56, rgb: new Uint8Array(56 * 56 * 3).fill(255) };
  test('the nested image_processor wins over a stale preprocessor_config.json', async () => {
    const copy = copyOf(llava);
    const stale = readJsonFile(join(copy, 'preprocessor_config.json')) as Record<string, unknown>;
    const [mean, std] = [
      [0.5, 0.5, 0.5],
      [0.25, 0.25, 0.25],
    ];
    writeFileSync(
      join(copy, 'processor_config.json'),
      JSON.stringify({
        image_processor: { ...stale, image_mean: mean, image_std: std },
        processor_class: 'LlavaProcessor',
      }),
    );
    expect((await pixelsOf(copy, picture))[0]).toBe(2);
    expect((await pixelsOf(llava, picture))[0]).not.toBe(2);
  });
  test('a processor_config.json of transformers 4, which holds no image_processor, does not', async () => {
    const copy = copyOf(llava);
    writeFileSync(join(copy, 'processor_config.json'), JSON.stringify({ patch_size: 14, processor_class: 'x' }));
    expect(await pixelsOf(copy, picture)).toEqual(await pixelsOf(llava, picture));
  });
});

describe('tied heads', () => {
  const tie = (json: Record<string, unknown>): void => void Object.assign(json, { tie_word_embeddings: true });
  test('a tied model that stores its head all the same opens', async () => {
    const copy = copyOf(language);
    editJson(copy, 'config.json', tie);
    (await openModel(copy)).close();
  });
  test('a head of another size is told', async () => {
    const copy = copyOf(language);
    editJson(copy, 'config.json', tie);
    rewriteWeights(copy, (tensors) =>
      tensors.map((tensor) =>
        tensor.name === 'lm_head.weight' ? { ...tensor, shape: [tensor.values.length] } : tensor,
      ),
    );
    await expect(openModel(copy)).rejects.toThrow(/unexpected\n {2}lm_head\.weight/);
  });
  test('an untied model without its head is told so', async () => {
    const copy = copyOf(language);
    rewriteWeights(copy, (tensors) => tensors.filter((tensor) => tensor.name !== 'lm_head.weight'));
    await expect(openModel(copy)).rejects.toThrow(/missing\n {2}lm_head\.weight/);
  });
});

test.each([null, 4096])('LLaVA over Mistral, with a window of %s', async (window) => {
  const copy = copyOf(llava);
  editJson(copy, 'config.json', (json) => {
    const text = json['text_config'] as Record<string, unknown>;
    json['text_config'] = { ...text, model_type: 'mistral', sliding_window: window };
  });
  const model = await openModel(copy);
  // A window that the context never outgrows masks nothing; null is none.
  expect(model.language.config.window).toBe(window ?? undefined);
  model.close();
});

test('photographs are turned where the family’s own code turns them', async () => {
  // Dark on the left; orientation 6 says that the camera was turned: upright, the dark half is on top.
  const wide = new Uint8Array(8 * 4 * 3).map((_, i) => (Math.floor(i / 3) % 8 < 4 ? 0 : 255));
  const photo = await sharp(wide, { raw: { width: 8, height: 4, channels: 3 } })
    .withMetadata({ orientation: 6 })
    .jpeg({ quality: 100 })
    .toBuffer();
  const opened = await Promise.all([llava, language].map((directory) => openModel(directory)));
  const sizes = await Promise.all(
    opened.map(async ({ upright }) => {
      const { width, height } = await decodeImage(photo, { upright });
      return [width, height];
    }),
  );
  for (const model of opened) model.close();
  expect(sizes).toEqual([
    [4, 8],
    [8, 4],
  ]);
});
