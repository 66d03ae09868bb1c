// Files as phones, scanners and print shops write them, and pictures a hundred times as high as wide: Pillow 12.3's own values.
import { describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { decodeImage, resizePillow, type Image } from '../../runtime/image/image.ts';
import { processPicture, readProcessor } from '../../runtime/image/preprocess.ts';

const golden = openCheckpoint(new URL('../golden/images/pillow-12.3.safetensors', import.meta.url).pathname);
const names = [...golden.stored.keys()].filter((name) => name.startsWith('input.')).map((name) => name.slice(6));
const bytesOf = (name: string): Uint8Array => Uint8Array.from(golden.tensor(name), Number);
const imageOf = (name: string): Image => {
  const [height = 0, width = 0] = golden.stored.get(name)?.shape ?? [];
  return { width, height, rgb: bytesOf(name) };
};

describe('decoded', () => {
  const files = names.filter((name) => /^(jpeg|exif|png|webp)/.test(name));
  test('all kinds are there', () => expect(files).toHaveLength(24));
  test.each(files)('%s', async (name) => {
    const image = await decodeImage(bytesOf(`input.${name}`), { name });
    expect(image).toEqual(imageOf(`output.${name}`));
  });
  test.each(files.filter((name) => name.startsWith('exif')))('%s, upright', async (name) => {
    const image = await decodeImage(bytesOf(`input.${name}`), { name, upright: true });
    expect(image).toEqual(imageOf(`output.${name}_upright`));
  });
  test('a JPEG that ends early is refused, wherever it ends', async () => {
    const whole = bytesOf('input.jpeg_plain');
    for (const length of [whole.length >> 1, whole.length - 20, 200, 24])
      // oxlint-disable-next-line no-await-in-loop
      await expect(decodeImage(whole.subarray(0, length), { name: 'half.jpg' })).rejects.toThrow(
        /half.jpg could not be decoded/,
      );
  });
});

test.each(names.filter((name) => name.startsWith('resize')))('%s', (name) => {
  const filter = name.endsWith('lanczos') ? 'lanczos' : 'bicubic';
  const want = imageOf(`output.${name}`);
  expect(resizePillow(imageOf(`input.${name}`), want.width, want.height, filter)).toEqual(want);
});

test.each(names.filter((name) => name.startsWith('crop')))('%s: only what the crop keeps is made', (name) => {
  const processor = readProcessor(
    { size: { shortest_edge: 24 }, crop_size: { height: 24, width: 24 }, do_rescale: false, do_normalize: false },
    'preprocessor_config.json',
  );
  const { pixels, ...size } = processPicture(imageOf(`input.${name}`), processor);
  expect(size).toEqual({ height: 24, width: 24 });
  expect(Uint8Array.from(pixels)).toEqual(bytesOf(`output.${name}`));
});

test('nearest pixels: centers that lie between two, as Pillow sums them', () => {
  const rgb = Uint8Array.from({ length: 64 * 3 }, (_, i) => (i % 3 === 0 ? i / 3 : 0));
  const processor = readProcessor(
    { size: { height: 1, width: 56 }, resample: 0, do_rescale: false, do_normalize: false },
    'preprocessor_config.json',
  );
  const { pixels } = processPicture({ width: 64, height: 1, rgb }, processor);
  const columns = Array.from(pixels).filter((_, i) => i % 3 === 0);
  // Pillow 12.3: 4, 12, 20 and 28 are the centers by the formula, and 3, 11, 19 and 27 what the sums give.
  expect(columns.slice(0, 28)).toEqual([
    0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16, 17, 18, 19, 21, 22, 23, 24, 25, 26, 27, 29, 30, 31,
  ]);
  expect(columns.slice(28)).toEqual([
    32, 33, 34, 36, 37, 38, 39, 40, 41, 42, 44, 45, 46, 47, 48, 49, 50, 52, 53, 54, 55, 56, 57, 58, 60, 61, 62, 63,
  ]);
});

test('a line of 1,000 × 1 pixels becomes a picture, not 336,000 columns', () => {
  const line: Image = { width: 1000, height: 1, rgb: new Uint8Array(3000).fill(90) };
  const processor = readProcessor({ size: { shortest_edge: 336 }, crop_size: 336 }, 'preprocessor_config.json');
  const { height, width } = processPicture(line, processor);
  expect([height, width]).toEqual([336, 336]);
});
