// A Gemma 3 whose processor shows long pictures whole and in pieces: the prompt in the words of its own processor, a view for each.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openModel } from '../../pipelines/answer/open-model.ts';
import type { Image } from '../../runtime/image/image.ts';
import { editJson } from '../support/edit-directory.ts';
import { makeVlm } from '../support/made-vlm.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-pan-and-scan-'));
afterAll(() => rmSync(root, { recursive: true }));

const picture = (width: number, height: number): Image => ({
  width,
  height,
  rgb: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 37) % 251),
});

test('a long picture is shown whole and in pieces, a square one whole', async () => {
  const directory = makeVlm(join(root, 'model'), 'gemma3');
  editJson(directory, 'preprocessor_config.json', (json) =>
    Object.assign(json, { do_pan_and_scan: true, pan_and_scan_min_crop_size: 30 }),
  );
  const model = await openModel(directory);
  try {
    const lay = (image: Image) => model.family.layOut([{ text: 'What is it?', images: [image] }], {});
    const [long, square] = [await lay(picture(150, 50)), await lay(picture(50, 50))];
    expect([long.views.length, square.views.length]).toEqual([4, 1]);
    expect([long.pictures, square.pictures]).toEqual([1, 1]);
    const text = await model.tokenizer.decode(long.ids[0] ?? []);
    expect(text).toContain('Here is the original image \n\n');
    expect(text).toContain('\n\n and here are some crops to help you see better \n\n');
    expect(await model.tokenizer.decode(square.ids[0] ?? [])).not.toContain('original');
    const seen = ({ rows }: typeof long) => [...(rows['slots']?.values ?? [])].filter((slot) => slot >= 0);
    // Each view's tokens once, in order.
    expect(seen(long)).toEqual(Array.from({ length: 4 * seen(square).length }, (_, i) => i));
    // Pieces are what they are cut from: the first view is that of the whole.
    const [whole, ...pieces] = long.views.map(({ inputs }) => [...(inputs()['pixels'] as Float32Array)]);
    for (const piece of pieces) expect(piece).not.toEqual(whole);
    expect(new Set(pieces.map((piece) => piece.join())).size).toBe(3);
  } finally {
    model.close();
  }
});

test.each(['smolvlm', 'qwen2_5_vl', 'qwen3_vl'] as const)(
  'nearest pixels are not made in silence otherwise: %s',
  async (kind) => {
    const directory = makeVlm(join(root, kind), kind);
    (await openModel(directory)).close();
    editJson(directory, 'preprocessor_config.json', (json) => Object.assign(json, { resample: 0 }));
    await expect(openModel(directory)).rejects.toThrow('takes the nearest pixel');
  },
);
