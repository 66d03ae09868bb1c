// Pictures to numbers: Cambrian's processors to the last bit, preprocessor_config.json, anyres tiles, pictures that would leave no token.
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../dsl/error.ts';
import { crop } from '../../models/sequence/masks.ts';
import { towerPixels, type TowerKind } from '../../models/configs/towers.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { decodeImage, normalize, resizePillow, type Image } from '../../runtime/image/image.ts';
import { anyresTiles, bestCanvas } from '../../runtime/image/anyres-tiles.ts';
import { centreCrop } from '../../runtime/image/crop.ts';
import { checkAspectRatio, processPicture, readProcessor, towerPicture } from '../../runtime/image/preprocess.ts';

const path = new URL('../golden/models/preprocess.safetensors', import.meta.url).pathname;
const golden = openCheckpoint(path);
const sizes = (
  JSON.parse(golden.metadata.get('config') ?? '') as { readonly sizes: Readonly<Record<TowerKind, number>> }
).sizes;
const picture = (tag: string): Image => {
  const [height = 0, width = 0] = golden.stored.get(`input.image_${tag}`)?.shape ?? [];
  return { width, height, rgb: Uint8Array.from(golden.tensor(`input.image_${tag}`), Number) };
};

/** A picture in which every pixel tells where it is. */
const numbered = (width: number, height: number): Image => ({
  width,
  height,
  rgb: Uint8Array.from(
    { length: width * height * 3 },
    (_, i) => [Math.floor(i / 3) % width, Math.floor(i / 3 / width), 7][i % 3] ?? 0,
  ),
});
const pixel = (image: Image, x: number, y: number) => [
  ...image.rgb.subarray((y * image.width + x) * 3, (y * image.width + x) * 3 + 3),
];

test.each(
  ['small', 'tall', 'wide'].flatMap((tag) =>
    (['siglip', 'clip', 'dinov2', 'convnext'] as const).map((tower) => [tag, tower] as const),
  ),
)('%s for %s: as the reference hands it to the tower', (tag, tower) => {
  const made = towerPicture(picture(tag), { ...towerPixels[tower], side: sizes[tower] }, { layout: 'chw', half: true });
  expect(Array.from(made)).toEqual(Array.from(golden.tensor(`output.${tag}.${tower}`), Number));
});

describe('preprocessor_config.json', () => {
  const clip = {
    do_resize: true,
    size: { shortest_edge: 8 },
    do_center_crop: true,
    crop_size: { height: 6, width: 6 },
    do_rescale: true,
    rescale_factor: 1 / 255,
    do_normalize: true,
    image_mean: [0.5, 0.25, 0],
    image_std: [0.5, 0.5, 2],
    resample: 3,
  };
  test('shortest edge, centre, mean and deviation', () => {
    const image = numbered(32, 16);
    const { height, width, pixels } = processPicture(image, readProcessor(clip, 'p.json'), 'chw');
    expect([height, width]).toEqual([6, 6]);
    const resized = resizePillow(image, 16, 8);
    const [r, g, b] = pixel(resized, 5, 1);
    expect([pixels[0], pixels[36], pixels[72]]).toEqual(
      [(r ?? 0) / 255 / 0.5 - 1, ((g ?? 0) / 255 - 0.25) / 0.5, (b ?? 0) / 255 / 2].map(Math.fround),
    );
  });
  test('height and width; a number; one deviation for all; another scale', () => {
    expect(
      processPicture(
        numbered(9, 5),
        readProcessor({ size: { height: 4, width: 3 }, image_mean: 0.5, image_std: 0.5 }, 'p.json'),
      ),
    ).toMatchObject({ height: 4, width: 3 });
    expect(processPicture(numbered(9, 5), readProcessor({ size: 10, do_center_crop: false }, 'p.json'))).toMatchObject({
      height: 10,
      width: 18,
    });
    const bytes = processPicture(
      numbered(4, 4),
      readProcessor({ do_resize: false, do_rescale: false, do_normalize: false }, 'p.json'),
      'hwc',
    );
    Array.from(bytes.pixels).forEach((value, i) => expect(value).toBeCloseTo(numbered(4, 4).rgb[i] ?? NaN, 4));
  });
  test('nearest, lanczos and bilinear by code', () => {
    const nearest = processPicture(
      numbered(10, 10),
      readProcessor({ size: { height: 5, width: 5 }, resample: 0, do_normalize: false, do_rescale: false }, 'p.json'),
    );
    expect([...nearest.pixels.subarray(0, 6)].map(Math.round)).toEqual([1, 1, 7, 3, 1, 7]);
    const lanczos = processPicture(
      numbered(40, 30),
      readProcessor({ size: { height: 9, width: 8 }, resample: 1 }, 'p.json'),
      'chw',
    );
    expect(lanczos.pixels).toEqual(
      normalize(resizePillow(numbered(40, 30), 8, 9, 'lanczos'), towerPixels.clip.mean, towerPixels.clip.std, 'chw'),
    );
  });
  test('a picture smaller than its crop stands on black', () => {
    const cropped = centreCrop(numbered(3, 3), 6, 4);
    expect([pixel(cropped, 0, 2), pixel(cropped, 1, 2), pixel(cropped, 1, 1)]).toEqual([
      [0, 0, 0],
      [0, 0, 7],
      [0, 0, 0],
    ]);
  });
  test('padded to a square with the bytes of its own mean', () => {
    const { pixels } = processPicture(
      numbered(4, 2),
      readProcessor({ ...clip, size: 4, do_center_crop: false, image_mean: [1, 1, 1] }, 'p.json', { square: true }),
      'hwc',
    );
    expect([...pixels.subarray(0, 3)]).toEqual([0, 0, 0]);
  });
  test('under a key of its own, as transformers 5 writes it', () => {
    expect(readProcessor({ image_processor: clip, processor_class: 'x' }, 'p.json')).toEqual(
      readProcessor(clip, 'p.json'),
    );
  });
  test.each([
    [{ resample: 4 }, 'asks for resampling 4'],
    [{ size: { longest_edge: 5 } }, 'asks for the size {"longest_edge":5}'],
    [{ size: { shortest_edge: 4, longest_edge: 8 } }, 'asks for the size'],
    [{ image_std: [1, 0, 1] }, 'divides by the standard deviation [1, 0, 1]'],
    [{ size: -1 }, "is wrong at 'size'"],
    [{ image_mean: [1, 2] }, "is wrong at 'image_mean'"],
  ])('%j', (fields, said) => {
    expect(() => readProcessor(fields, 'some/p.json')).toThrow(OpabiniaError);
    expect(() => readProcessor(fields, 'some/p.json')).toThrow(said);
  });
});

describe('LLaVA-NeXT', () => {
  const canvases = [
    [336, 672],
    [672, 336],
    [672, 672],
    [1008, 336],
    [336, 1008],
  ] as const;
  // `select_best_resolution` of transformers, by hand: the canvas that keeps most, then the one that wastes least.
  test.each([
    [640, 480, [672, 672]],
    [1000, 300, [336, 1008]],
    [300, 1000, [1008, 336]],
    [400, 200, [336, 672]],
    [100, 100, [336, 672]],
  ])('%i × %i goes on %j', (width, height, canvas) => {
    expect(bestCanvas({ width, height }, canvases)).toEqual(canvas);
  });
  test('tiles: the whole picture, then the canvas row by row, centred on black', () => {
    const { tiles, rows, columns } = anyresTiles(
      numbered(40, 12),
      [
        [16, 32],
        [32, 16],
      ],
      16,
    );
    expect([tiles.length, rows, columns]).toEqual([3, 1, 2]);
    expect(tiles[0]?.rgb).toEqual(resizePillow(numbered(40, 12), 16, 16).rgb);
    const fitted = resizePillow(numbered(40, 12), 32, 10);
    const [, left, right] = tiles;
    if (left === undefined || right === undefined) throw new Error('no tiles');
    expect([pixel(left, 3, 2), pixel(left, 3, 3), pixel(right, 0, 12), pixel(right, 0, 13)]).toEqual([
      [0, 0, 0],
      pixel(fitted, 3, 0),
      pixel(fitted, 16, 9),
      [0, 0, 0],
    ]);
  });
  test('refuses canvases that tiles do not fill, and none', () => {
    expect(() => anyresTiles(numbered(4, 4), [[10, 10]], 4)).toThrow(/does not divide into tiles/);
    expect(() => bestCanvas({ width: 1, height: 1 }, [])).toThrow(OpabiniaError);
  });
});

describe('pictures that cannot be used', () => {
  test('as long as to leave no token: exactly where the crop is empty', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4000 }),
        fc.integer({ min: 1, max: 400 }),
        fc.integer({ min: 1, max: 40 }),
        fc.boolean(),
        (long, short, side, wide) => {
          const size = wide ? { width: long, height: short } : { width: short, height: long };
          const shown = crop(size, side);
          const check = () => checkAspectRatio(size, side, 'x.png');
          if (shown.width * shown.height > 0) check();
          else expect(check).toThrow(OpabiniaError);
        },
      ),
    );
  });
  test('says the ratio', () => {
    expect(() => checkAspectRatio({ width: 4800, height: 100 }, 24, 'strip.png')).toThrow(
      /strip\.png is 4800 × 100, 48\.0 times as long as it is high/,
    );
  });
  test('an animated WebP: its first frame, said so', async () => {
    const frames = await sharp({ create: { width: 8, height: 16, channels: 3, background: 'red' } })
      .raw()
      .toBuffer();
    const webp = await sharp(Buffer.concat([frames.subarray(0, 192), Buffer.alloc(192, 9)]), {
      raw: { width: 8, height: 16, channels: 3, pageHeight: 8 },
    })
      .webp({ lossless: true })
      .toBuffer();
    const notes: string[] = [];
    const image = await decodeImage(webp, { name: 'two.webp', note: (text) => notes.push(text) });
    expect([image.width, image.height, pixel(image, 0, 0)]).toEqual([8, 8, [255, 0, 0]]);
    expect(notes).toEqual(['two.webp is an animation of 2 frames; the first one is used']);
  });
  test('no image at all', async () => {
    await expect(
      decodeImage(readFileSync(new URL('../../package.json', import.meta.url)), { name: 'package.json' }),
    ).rejects.toThrow(/package\.json is not a JPEG, PNG or WebP/);
  });
  test('a bomb of 16,000 × 16,000, from its header alone', async () => {
    const bomb = await sharp({
      create: { width: 16_000, height: 16_000, channels: 3, background: 'black' },
      limitInputPixels: false,
    })
      .png({ compressionLevel: 9 })
      .toBuffer();
    const before = process.memoryUsage().rss;
    await expect(decodeImage(bomb, { name: 'bomb.png' })).rejects.toThrow(
      /16000 × 16000 pixels, more than the 50 million/,
    );
    expect(process.memoryUsage().rss - before).toBeLessThan(100 * 2 ** 20);
  });
});
