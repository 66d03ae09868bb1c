// What the class of a preprocessor_config.json says where the file does not, as transformers 5.18 has it; and the nearest pixel as Pillow's.
import { describe, expect, test } from 'vitest';
import { normalize, resizePillow, type Image } from '../../runtime/image/image.ts';
import { centreCrop, processedSize, processPicture, readProcessor } from '../../runtime/image/preprocess.ts';

const half = [0.5, 0.5, 0.5] as const;
const clipMean = [0.48145466, 0.4578275, 0.40821073];

/** Colors that change from pixel to pixel. */
const picture = (width: number, height: number): Image => ({
  width,
  height,
  rgb: Uint8Array.from({ length: width * height * 3 }, (_, i) => (i * 37 + (i % 7) * 11) % 256),
});

describe('what a file leaves out', () => {
  test.each([
    ['SiglipImageProcessor', { resize: { kind: 'exact', height: 224, width: 224 }, crop: undefined, mean: half }],
    ['SiglipImageProcessorFast', { filter: 'bicubic', mean: half, std: half }],
    ['ViTImageProcessor', { resize: { kind: 'exact', height: 224, width: 224 }, filter: 'bilinear', mean: half }],
    [
      'BitImageProcessor',
      { resize: { kind: 'shortest', edge: 224 }, crop: { height: 224, width: 224 }, mean: clipMean },
    ],
    ['CLIPImageProcessor', { resize: { kind: 'shortest', edge: 224 }, crop: { height: 224, width: 224 } }],
    ['DeiTImageProcessor', { resize: { kind: 'exact', height: 256, width: 256 }, crop: { height: 224, width: 224 } }],
    ['DINOv3ViTImageProcessorFast', { filter: 'bilinear', mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] }],
    ['ConvNextImageProcessor', { resize: { kind: 'exact', height: 384, width: 384 }, crop: undefined, mean: half }],
  ])('by %s', (name, wanted) => {
    expect(readProcessor({ image_processor_type: name }, 'p.json')).toMatchObject(wanted);
  });

  test('a size of one number: both sides of a ViT, the shorter one of CLIP', () => {
    expect(readProcessor({ feature_extractor_type: 'ViTFeatureExtractor', size: 32 }, 'p.json').resize).toEqual({
      kind: 'exact',
      height: 32,
      width: 32,
    });
    expect(readProcessor({ feature_extractor_type: 'CLIPFeatureExtractor', size: 32 }, 'p.json').resize).toEqual({
      kind: 'shortest',
      edge: 32,
    });
  });

  test('a size to cut is for those that cut', () => {
    const stated = { size: { height: 32, width: 32 }, crop_size: 24 };
    const size = (fields: object) => processedSize(readProcessor({ ...stated, ...fields }, 'p.json'))?.height;
    expect(size({ image_processor_type: 'SiglipImageProcessor' })).toBe(32);
    expect(size({ image_processor_type: 'SiglipImageProcessor', do_center_crop: true })).toBe(24);
    expect(size({ image_processor_type: 'CLIPImageProcessor' })).toBe(24);
    expect(size({})).toBe(24);
    expect(size({ crop_size: undefined, do_center_crop: true })).toBe(224);
    expect(size({ crop_size: undefined })).toBe(32);
  });
});

test('a size of two numbers is height and width', () => {
  const { resize, crop } = readProcessor({ size: [20, 30], crop_size: [10, 12] }, 'p.json');
  expect(resize).toEqual({ kind: 'exact', height: 20, width: 30 });
  expect(crop).toEqual({ height: 10, width: 12 });
});

test.each(['do_flip_channel_order', 'rescale_offset', 'do_thumbnail', 'crop_to_patches'])(
  '%s changes pictures and is refused',
  (field) => {
    expect(() => readProcessor({ [field]: true }, 'p.json')).toThrow(`p.json is wrong at '${field}'`);
    expect(readProcessor({ [field]: false }, 'p.json')).toEqual(readProcessor({}, 'p.json'));
  },
);

describe("ConvNeXt's pictures", () => {
  const json = { image_processor_type: 'ConvNextImageProcessor', image_mean: half, image_std: half, crop_pct: 0.875 };
  const image = picture(60, 45);
  /** The first place where the numbers of a picture are others; -1 where none is. */
  const firstOther = (fields: object, wanted: Image): number => {
    const made = processPicture(image, readProcessor({ ...json, ...fields }, 'p.json'), 'chw');
    expect([made.width, made.height]).toEqual([wanted.width, wanted.height]);
    const pixels = normalize(wanted, half, half);
    return pixels.findIndex((value, at) => value !== made.pixels[at]);
  };
  test('small ones are made larger by crop_pct and cut', () => {
    // 28 / 0.875 = 32, and 60 · 32 / 45 = 42.67.
    expect(firstOther({ size: { shortest_edge: 28 } }, centreCrop(resizePillow(image, 42, 32), 28, 28))).toBe(-1);
  });
  test('from 384 on they are distorted', () => {
    expect(firstOther({ size: 384 }, resizePillow(image, 384, 384))).toBe(-1);
  });
});

// Pillow 12.3: Image.fromarray(numpy.arange(from)).resize(to, NEAREST).
test.each([
  [2, 7, [0, 0, 0, 0, 1, 1, 1]],
  [4, 6, [0, 1, 1, 2, 2, 3]],
  [4, 14, [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]],
])('the nearest of %d pixels at %d places', (from, to, wanted) => {
  const processor = readProcessor(
    { size: { height: to, width: to }, resample: 0, do_rescale: false, do_normalize: false },
    'p.json',
  );
  const image: Image = {
    width: from,
    height: from,
    rgb: Uint8Array.from(
      { length: from * from * 3 },
      (_, i) => [Math.floor(i / 3) % from, Math.floor(i / 3 / from), 0][i % 3] ?? 0,
    ),
  };
  const { pixels } = processPicture(image, processor, 'chw');
  const at = (i: number): number => Math.round(pixels[i] ?? NaN);
  expect(wanted.map((_, i) => at(i))).toEqual(wanted);
  expect(wanted.map((_, i) => at(to * to + i * to))).toEqual(wanted);
});
