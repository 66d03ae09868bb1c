// Gemma 3's pan-and-scan: the pieces that `Gemma3ImageProcessor.pan_and_scan_batched` of transformers 5.18 cuts, and what of a file is refused.
import { expect, test } from 'vitest';
import { cropImage, cropsOf, readPanAndScan } from '../../runtime/image/pan-and-scan.ts';

type Box = readonly [left: number, top: number, width: number, height: number];
type Case = readonly [width: number, height: number, least: number, most: number, ratio: number, boxes: readonly Box[]];

// prettier-ignore
const cases: readonly Case[] = [
  [1000, 500, 256, 4, 1.2, [[0, 0, 500, 500], [500, 0, 500, 500]]],
  [500, 1000, 256, 4, 1.2, [[0, 0, 500, 500], [0, 500, 500, 500]]],
  [600, 500, 256, 4, 1.2, [[0, 0, 300, 500], [300, 0, 300, 500]]],
  [599, 500, 256, 4, 1.2, []],
  [1000, 1000, 256, 4, 1.2, []],
  [1001, 333, 256, 4, 1.2, [[0, 0, 334, 333], [334, 0, 334, 333], [668, 0, 333, 333]]],
  [333, 1001, 256, 4, 1.2, [[0, 0, 333, 334], [0, 334, 333, 334], [0, 668, 333, 333]]],
  [3000, 300, 256, 4, 1.2, [[0, 0, 750, 300], [750, 0, 750, 300], [1500, 0, 750, 300], [2250, 0, 750, 300]]],
  [2500, 1000, 256, 4, 1.2, [[0, 0, 834, 1000], [834, 0, 834, 1000], [1668, 0, 832, 1000]]],
  [1503, 600, 256, 4, 1.2, [[0, 0, 501, 600], [501, 0, 501, 600], [1002, 0, 501, 600]]],
  [640, 480, 256, 4, 1.2, [[0, 0, 320, 480], [320, 0, 320, 480]]],
  [480, 640, 64, 8, 1.2, [[0, 0, 480, 320], [0, 320, 480, 320]]],
  [513, 300, 256, 4, 1.2, [[0, 0, 257, 300], [257, 0, 256, 300]]],
  [511, 300, 256, 4, 1.2, [[0, 0, 256, 300], [256, 0, 255, 300]]],
  [300, 720, 16, 2, 2.4, [[0, 0, 300, 360], [0, 360, 300, 360]]],
  [300, 719, 16, 2, 2.4, []],
];

test.each(cases)(
  '%i × %i, crops of %i at least, %i at most, from %d on',
  (width, height, least, mostCrops, ratio, boxes) => {
    expect(
      cropsOf({ width, height }, { least, mostCrops, ratio }).map((crop) => [
        crop.left,
        crop.top,
        crop.width,
        crop.height,
      ]),
    ).toEqual(boxes);
  },
);

test('a piece has the pixels of its place', () => {
  const image = { width: 7, height: 3, rgb: Uint8Array.from({ length: 63 }, (_, i) => i) };
  const { rgb, ...size } = cropImage(image, { left: 4, top: 1, width: 3, height: 2 });
  expect(size).toEqual({ width: 3, height: 2 });
  expect([...rgb]).toEqual([...image.rgb.slice(33, 42), ...image.rgb.slice(54, 63)]);
});

test('what a file says', () => {
  expect(readPanAndScan({}, 'x')).toBeUndefined();
  expect(readPanAndScan({ do_pan_and_scan: null, pan_and_scan_min_crop_size: 8 }, 'x')).toBeUndefined();
  expect(readPanAndScan({ do_pan_and_scan: true }, 'x')).toEqual({ least: 256, mostCrops: 4, ratio: 1.2 });
  expect(readPanAndScan({ image_processor: { do_pan_and_scan: true, pan_and_scan_max_num_crops: 6 } }, 'x')).toEqual({
    least: 256,
    mostCrops: 6,
    ratio: 1.2,
  });
  for (const [field, value] of [
    ['do_pan_and_scan', 'yes'],
    ['pan_and_scan_min_crop_size', 0],
    ['pan_and_scan_max_num_crops', 1e6],
    ['pan_and_scan_min_ratio_to_activate', -1],
  ] as const)
    expect(() => readPanAndScan({ do_pan_and_scan: true, [field]: value }, 'x')).toThrow(`x is wrong at '${field}'`);
});
