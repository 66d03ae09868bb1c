// LLaVA-OneVision and InternVL: which pictures are cut into how many views, what a head is where none is stored, and what is refused.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { randomParams, trace } from '../../dsl/index.ts';
import { readConfig } from '../../models/configs/read.ts';
import { shapedParams } from '../../models/configs/param-shapes.ts';
import { internVl } from '../../models/multimodal/internvl.ts';
import { newlineSlot } from '../../models/sequence/collate.ts';
import { openModel } from '../../pipelines/answer/open-model.ts';
import type { LaidOut } from '../../pipelines/answer/family.ts';
import { bestTiles, tilePicture } from '../../runtime/image/tile-picture.ts';
import type { Image } from '../../runtime/image/image.ts';
import { editJson } from '../support/edit-directory.ts';
import { makeVlm } from '../support/made-vlm.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-tiled-'));
afterAll(() => rmSync(root, { recursive: true }));

const picture = (width: number, height: number): Image => ({
  width,
  height,
  rgb: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 37) % 251),
});

async function lay(directory: string, images: readonly Image[]): Promise<LaidOut> {
  const model = await openModel(directory);
  try {
    return await model.family.layOut([{ text: 'What?', images }], {});
  } finally {
    model.close();
  }
}

const slotsOf = ({ rows }: LaidOut) => [...(rows['slots']?.values ?? [])];

/** Width, height, tiles at least and at most, then columns and rows of `get_optimal_tiled_canvas` (transformers 5.18) for tiles of 448. */
test.each([
  [448, 448, 1, 12, 1, 1],
  [640, 640, 1, 12, 2, 2],
  [950, 950, 1, 12, 2, 2],
  [1400, 1400, 1, 12, 3, 3],
  [700, 1400, 1, 12, 2, 4],
  [3000, 1000, 1, 12, 6, 2],
  [100, 1, 1, 12, 12, 1],
  [1, 100, 1, 12, 1, 12],
  [640, 480, 1, 12, 4, 3],
  [640, 480, 1, 6, 3, 2],
  [500, 500, 2, 12, 2, 2],
  [1920, 1080, 1, 24, 5, 3],
] as const)('%d × %d in %d to %d tiles', (width, height, least, most, columns, rows) => {
  const rules = { least, most, tile: 448, filter: 'bicubic' } as const;
  expect(bestTiles({ width, height }, rules)).toEqual([columns, rows]);
  expect(tilePicture({ width, height, rgb: new Uint8Array(0) }, rules).views).toBe(
    columns * rows === 1 ? 1 : columns * rows + 1,
  );
});

test('OneVision: a picture alone in tiles, several each in a square with a newline behind', async () => {
  const directory = makeVlm(join(root, 'one'), 'llava_onevision');
  const [alone, two] = [
    await lay(directory, [picture(100, 40)]),
    await lay(directory, [picture(100, 40), picture(9, 9)]),
  ];
  expect([alone.views.length, two.views.length]).toEqual([3, 2]);
  expect(slotsOf(two).filter((slot) => slot !== -1)).toEqual([
    ...Array.from({ length: 16 }, (_, i) => i),
    newlineSlot,
    ...Array.from({ length: 16 }, (_, i) => 16 + i),
    newlineSlot,
  ]);
  // The margin above 100 × 40 in a square is the mean's bytes, 127 of 255.
  const [first] = (two.views[0]?.inputs()['pixels'] ?? []) as Float32Array;
  expect(first).toBeCloseTo((127 / 255 - 0.5) / 0.5, 5);
  editJson(directory, 'tokenizer_config.json', (json) => delete json['chat_template']);
  await expect(openModel(directory)).rejects.toThrow(/has no chat template/);
});

test('InternVL: pictures are cut whatever the file says of it, in as many tiles as it says', async () => {
  const directory = makeVlm(join(root, 'intern'), 'internvl');
  const edit = (values: object) =>
    editJson(directory, 'preprocessor_config.json', (json) => Object.assign(json, values));
  const before = await lay(directory, [picture(150, 50)]);
  expect(before.views).toHaveLength(4);
  expect(slotsOf(before).filter((slot) => slot >= 0)).toEqual(Array.from({ length: 4 * 4 }, (_, i) => i));
  edit({ crop_to_patches: true });
  expect(slotsOf(await lay(directory, [picture(150, 50)]))).toEqual(slotsOf(before));
  edit({ max_patches: 1 });
  expect((await lay(directory, [picture(150, 50)])).views).toHaveLength(1);
  edit({ min_patches: 0 });
  await expect(openModel(directory)).rejects.toThrow(/preprocessor_config.json is wrong at 'min_patches'/);
});

const intern = {
  model_type: 'internvl',
  image_token_id: 90,
  text_config: {
    vocab_size: 100,
    hidden_size: 24,
    intermediate_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 2,
    tie_word_embeddings: false,
  },
  vision_config: {
    hidden_size: 16,
    intermediate_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    image_size: [28, 28],
    patch_size: [7, 7],
  },
};

test.each(['', 'model.'])('InternVL: the head is the embedding where none is stored, names begin with %o', (body) => {
  const head = body === '' ? 'language_model.lm_head.weight' : 'lm_head.weight';
  const tables = new Map([[`${body}multi_modal_projector.linear_1.weight`, []]]);
  const pathOf = (stored: ReadonlyMap<string, readonly number[]>): string => {
    const model = internVl(intern, 'config.json');
    let path = '';
    trace(
      shapedParams(model.shapes(stored), randomParams(1)),
      (t) => {
        const p = model.languageParams(t.params).at('lm_head');
        path = p.path;
        return { y: p.get('weight', 'v e', { v: 100, e: 24 }) };
      },
      { unread: 'ignore' },
    );
    return path;
  };
  expect(pathOf(tables)).toBe(body === '' ? 'language_model.model.embed_tokens' : 'model.language_model.embed_tokens');
  expect(pathOf(new Map([...tables, [head, []]]))).toBe(head.replace('.weight', ''));
  const untied = internVl({ ...intern, tie_word_embeddings: false }, 'config.json');
  expect(untied.shapes(tables).has(head)).toBe(true);
});

test.each<[string, object, RegExp]>([
  ['its authors’ layout', { model_type: 'internvl_chat' }, /layout of its authors[^]*layout of transformers/],
  ['a ratio that is no square', { ...intern, downsample_ratio: 0.4 }, /downsample_ratio' .* is 0.4/],
  ['another layer', { ...intern, vision_feature_layer: -2 }, /'vision_feature_layer' .* is -2/],
  [
    'pictures that are no squares',
    { ...intern, vision_config: { ...intern.vision_config, image_size: [28, 14] } },
    /'image_size' .* is 28 × 14/,
  ],
  [
    'sizes that make no sense',
    { ...intern, vision_config: { ...intern.vision_config, num_hidden_layers: 1e9 } },
    /'num_hidden_layers' is wrong/,
  ],
])('InternVL, refused: %s', (_what, json, message) => {
  expect(() => readConfig(json, 'config.json')).toThrow(message);
});
