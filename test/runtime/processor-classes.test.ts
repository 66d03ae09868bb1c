// What the class of a preprocessor_config.json says where the file does not, as transformers 5.18 has it; and the nearest pixel as Pillow's.
import { describe, expect, test } from 'vitest';
import { normalize, resizePillow, type Image } from '../../runtime/image/image.ts';
import { centreCrop } from '../../runtime/image/crop.ts';
import { processedSize, processPicture, readProcessor } from '../../runtime/image/preprocess.ts';

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

// transformers 5.18: DPTImageProcessorPil(keep_aspect_ratio=…, ensure_multiple_of=…, size=…)(a picture of width × height).
describe("DPT's sizes", () => {
  const ways = [
    { keep_aspect_ratio: true, ensure_multiple_of: 32, size: { height: 48, width: 48 } },
    { keep_aspect_ratio: true, ensure_multiple_of: 1, size: { height: 40, width: 56 } },
    { keep_aspect_ratio: false, ensure_multiple_of: 32, size: { height: 48, width: 80 } },
    { keep_aspect_ratio: true, ensure_multiple_of: 16, size: { height: 24, width: 40 } },
  ];
  test.each([
    [640, 480, ['64×64', '56×42', '64×64', '32×32']],
    [480, 640, ['64×64', '56×75', '64×64', '32×48']],
    [500, 333, ['64×64', '60×40', '64×64', '32×32']],
    [100, 37, ['128×64', '108×40', '64×64', '64×32']],
    [1000, 800, ['64×64', '56×45', '64×64', '32×32']],
    [12, 12, ['64×64', '40×40', '64×64', '32×32']],
    [3, 100, ['nothing', '1×40', '64×64', 'nothing']],
  ])('of %d × %d', (width, height, wanted) => {
    const image = picture(width, height);
    const json = { image_processor_type: 'DPTImageProcessor', do_rescale: false, do_normalize: false };
    const made = ways.map((way) => {
      try {
        const found = processPicture(image, readProcessor({ ...json, ...way }, 'p.json'), 'hwc');
        const same = resizePillow(image, found.width, found.height);
        expect(found.pixels.every((value, i) => Math.abs(value - (same.rgb[i] ?? NaN)) < 1e-3)).toBe(true);
        return `${found.width}×${found.height}`;
      } catch (error) {
        expect(String(error)).toMatch(/a picture of 3 × 100 is nothing in multiples of/);
        return 'nothing';
      }
    });
    expect(made).toEqual(wanted);
  });

  test('are fixed where proportions are not kept, or the picture is a square; of other classes they are refused', () => {
    const [kept = {}, , whole = {}] = ways;
    const dpt = { image_processor_type: 'DPTImageProcessor' };
    const size = (json: object, square = false) => processedSize(readProcessor(json, 'p.json', { square }));
    expect(size({ ...dpt, ...kept })).toBeUndefined();
    expect(size({ ...dpt, ...kept }, true)).toEqual({ height: 64, width: 64 });
    expect(size({ ...dpt, ...whole })).toEqual({ height: 64, width: 64 });
    expect(() => size({ ...kept, image_processor_type: 'ViTImageProcessor' })).toThrow(/asks for keep_aspect_ratio/);
    expect(() => readProcessor({ ...dpt, do_pad: true, size_divisor: 14 }, 'p.json')).toThrow(
      /pads pictures to multiples of 14/,
    );
    expect(() => readProcessor({ ...dpt, ...kept, size: { shortest_edge: 20 } }, 'p.json')).toThrow(
      /asks for keep_aspect_ratio/,
    );
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

// DINOv3ViTImageProcessor of transformers 5.18, channels last.
test.each([
  [
    'made smaller',
    [9, 7],
    { size: { height: 3, width: 4 } },
    [
      -0.601385, -0.532113, 0.307227, 0.083104, -0.205806, -0.03523, -0.207927, 0.243826, -0.394896, -0.565667,
      0.143908, 0.377691, -0.118769, -0.266095, -0.130392, -0.241822, -0.027206, 0.072982, -0.286243, -0.073674,
      0.162204, -0.199097, -0.1923, 0.08781, -0.561997, 0.271459, 0.727449, 0.168072, -0.468715, 0.345359, 0.250026,
      0.480628, -0.261778, -0.430137, 0.307223, -0.174103,
    ],
  ],
  [
    'made larger, beyond the range of bytes, and cut or put on black',
    [3, 4],
    { size: { height: 5, width: 4 }, resample: 3, do_center_crop: true, crop_size: { height: 3, width: 5 } },
    [
      -1.169217, -0.040418, 1.408552, 1.010674, -0.439786, 0.000222, 0.833074, -0.789107, -0.48852, -1.590676,
      -0.869388, 0.248726, -2.117904, -2.035714, -1.804444, 0.73356, 1.940083, 0.388805, 0.318712, -0.455413, -0.863326,
      -0.181016, -0.842093, -0.098235, -0.452338, 1.022459, 2.204433, -2.117904, -2.035714, -1.804444, 0.765051,
      1.337143, -1.326787, -1.074553, 0.040859, -0.124069, -0.870685, -0.140704, 1.092292, 1.248848, 0.906277, 1.559743,
      -2.117904, -2.035714, -1.804444,
    ],
  ],
] as const)("DINOv3's pictures are scaled before they are resized: %s", (_what, [width, height], fields, wanted) => {
  const processor = readProcessor({ image_processor_type: 'DINOv3ViTImageProcessorFast', ...fields }, 'p.json');
  const image = picture(width, height);
  const made = processPicture(image, processor, 'hwc');
  expect(made.pixels).toHaveLength(wanted.length);
  wanted.forEach((value, i) => expect(made.pixels[i]).toBeCloseTo(value, 5));
  const planes = processPicture(image, processor, 'chw').pixels;
  const pixels = made.width * made.height;
  expect(Array.from(made.pixels, (_, i) => planes[(i % 3) * pixels + Math.floor(i / 3)])).toEqual([...made.pixels]);
});

// SamImageProcessorPil of transformers 5.18, channels last.
test("SAM's pictures: the longer side, then zeros below and on the right", () => {
  const json = {
    image_processor_type: 'SamImageProcessor',
    size: { longest_edge: 5 },
    pad_size: { height: 5, width: 6 },
  };
  const processor = readProcessor(json, 'p.json');
  expect(processedSize(processor)).toEqual({ height: 5, width: 6 });
  expect(processedSize(readProcessor({ image_processor_type: 'SamImageProcessor' }, 'p.json'))?.height).toBe(1024);
  const { pixels } = processPicture(picture(9, 7), processor, 'hwc');
  const rows = [
    -0.884922, -0.42507, 0.565926, -0.131433, -0.582633, 0.182484, 0.399435, 0.117647, -0.322963, -0.285555, 0.555322,
    -0.532113, -0.559551, 0.152661, 0.879652, 0, 0, 0, -0.713674, -0.757703, -0.148671, 0.176813, -0.582633, -0.288104,
    -0.234181, 0.467787, -0.270675, -0.576676, -0.127451, 0.234771, -0.696549, -0.390056, 0.304488, 0, 0, 0, 0.142564,
    0.187675, -0.131242, -0.217056, 0.222689, 0.391634, -0.148557, -0.022409, 0.565926, 0.074065, -0.057423, 0.008192,
    0.02269, 0.082633, -0.37525, 0, 0, 0, -0.6623, 0.257703, 0.966798, -0.080058, -0.460084, 0.47878, 0.313811,
    -0.127451, -0.078954, 0.005565, 0.607843, -0.410109, -0.679425, 0.205182, 0.008192, 0, 0, 0,
  ];
  const wanted = [...rows, ...Array.from({ length: 18 }, () => 0)];
  expect(pixels).toHaveLength(wanted.length);
  wanted.forEach((value, i) => expect(pixels[i]).toBeCloseTo(value, 5));
  const planes = processPicture(picture(9, 7), processor, 'chw').pixels;
  expect(Array.from(pixels, (_, i) => planes[(i % 3) * 30 + Math.floor(i / 3)])).toEqual([...pixels]);
  const smaller = readProcessor({ ...json, pad_size: { height: 4, width: 4 } }, 'p.json');
  expect(() => processPicture(picture(9, 7), smaller)).toThrow(/4 × 5 does not go into the 4 × 4/);
  expect(() => readProcessor({ ...json, image_processor_type: 'ViTImageProcessor' }, 'p.json')).toThrow(/longest_edge/);
});

test.each([
  ['keep_aspect_ratio', { image_processor_type: 'ViTImageProcessor', keep_aspect_ratio: true }],
  [
    'multiples of 32',
    { image_processor_type: 'ViTImageProcessor', ensure_multiple_of: 32, size: { height: 40, width: 32 } },
  ],
  ['multiples of 8', { do_pad: true, size_divisor: 8 }],
  ['resampling 0', { image_processor_type: 'DINOv3ViTImageProcessor', resample: 0 }],
])('%s is refused', (said, fields) => {
  expect(() => readProcessor({ image_processor_type: 'DPTImageProcessor', ...fields }, 'p.json')).toThrow(said);
});

test('what changes no picture is not', () => {
  const plain = readProcessor({ image_processor_type: 'DPTImageProcessor' }, 'p.json');
  const fields = {
    keep_aspect_ratio: false,
    ensure_multiple_of: 32,
    do_pad: false,
    size_divisor: null,
    pad_size: null,
  };
  expect(readProcessor({ image_processor_type: 'DPTImageProcessor', ...fields }, 'p.json')).toEqual(plain);
});
