// What frozen towers see of a picture is the same to the bit, whichever pictures are seen with it.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fixedParams, trace } from '../../../dsl/index.ts';
import { makeTensors } from '../../../examples/made/weights.ts';
import { under } from '../../../models/configs/param-shapes.ts';
import { clipFeatures, clipShapes, type ClipConfig } from '../../../models/towers/clip.ts';
import { convNextFeatures, type ConvNextConfig } from '../../../models/towers/convnext.ts';
import { convNextShapes } from '../../../models/towers/convnext-shapes.ts';
import type { Features } from '../../../pipelines/train/data/feature-cache.ts';
import { FrozenTowers, type TowerSight } from '../../../pipelines/train/frozen-towers.ts';
import type { SeenPicture } from '../../../pipelines/train/data/seen-pictures.ts';
import { openDevice } from '../../../runtime/device/dawn.ts';
import type { Device } from '../../../runtime/device/device.ts';

const clip: ClipConfig = {
  width: 20,
  layers: 2,
  heads: 2,
  hidden: 36,
  image: 5,
  patch: 5,
  eps: 1e-5,
  activation: 'quick',
};
const convNext: ConvNextConfig = {
  depths: [1, 1],
  widths: [8, 12],
  stem: 2,
  kernel: 3,
  ratio: 4,
  eps: 1e-5,
  activation: 'exact',
};
const sides = [clip.image, 12] as const;
const source = fixedParams(
  Object.fromEntries(
    makeTensors(new Map([...under('clip', clipShapes(clip)), ...under('convnext', convNextShapes(convNext))]), 3).map(
      ({ name, shape, values }) => [name, { shape, values }],
    ),
  ),
);
const sight: TowerSight = {
  about: ['made'],
  maps: [
    [1, 1, 20],
    [6, 6, 20],
  ],
  sides,
  graph: (pictures) =>
    trace(
      source,
      (t) => {
        const pixels = sides.map((side, k) =>
          t.input(`pixels_${k}`, 'b h w c', { b: pictures, h: side, w: side, c: 3 }),
        );
        const [first, second] = pixels;
        if (first === undefined || second === undefined) throw new RangeError('there are two towers');
        return {
          features_0: clipFeatures(t.params.at('clip'), first, clip).cast('f32'),
          features_1: convNextFeatures(t.params.at('convnext'), second, convNext).cast('f32'),
        };
      },
      { unread: 'ignore' },
    ),
  inputs: ({ rgb }) =>
    Object.fromEntries(
      sides.map((side, k) => [
        `pixels_${k}`,
        Float32Array.from({ length: 3 * side ** 2 }, (_, i) => Math.sin((rgb[0] ?? 0) + 0.7 * i + k)),
      ]),
    ),
};

/** Pictures by number; undefined is a sample without one. */
const pictureOf = (number: number | undefined): SeenPicture | undefined =>
  number === undefined
    ? undefined
    : {
        key: number.toString(16).padStart(64, 'f'),
        image: { width: 1, height: 1, rgb: Uint8Array.of(number, 0, 0) },
      };

describe('maps of frozen towers', () => {
  const root = mkdtempSync(join(tmpdir(), 'opabinia-towers-'));
  let device: Device;
  beforeAll(async () => {
    device = await openDevice();
  });
  afterAll(() => {
    device.close();
    rmSync(root, { recursive: true });
  });

  /** Maps by picture, seen with an empty cache. */
  async function seen(
    towers: FrozenTowers,
    groups: readonly (readonly (number | undefined)[])[],
  ): Promise<Map<number | undefined, Features>> {
    rmSync(join(root, 'features'), { recursive: true, force: true });
    const { made } = towers.counts;
    const all = new Map<number | undefined, Features>();
    for (const group of groups) {
      const maps = await towers.see(group.map(pictureOf));
      group.forEach((number, i) => all.set(number, maps[i] ?? []));
    }
    expect(towers.counts).toEqual({ found: 0, made: made + all.size });
    return all;
  }

  // More than a run takes at once, and one sample without a picture.
  const numbers: readonly (number | undefined)[] = [...Array(36).keys(), undefined];

  test(
    'do not depend on the pictures that are seen with it, nor on its place among them',
    { timeout: 600_000 },
    async () => {
      const asked: number[] = [];
      const graph: TowerSight['graph'] = (pictures) => {
        asked.push(pictures);
        return sight.graph(pictures);
      };
      const towers = new FrozenTowers({ source, read: [] }, device, root, { ...sight, graph });
      try {
        const whole = await seen(towers, [numbers]);
        const [first] = whole.values();
        expect(first?.map((map) => [map.length, map.every(Number.isFinite)])).toEqual([
          [20, true],
          [720, true],
        ]);
        expect(new Set([...whole.values()].map((maps) => bytesOf(maps[0]).toString('hex'))).size).toBe(numbers.length);
        for (const groups of [
          [3, 35, undefined, 0].map((number) => [number]),
          [numbers.toReversed()],
          [numbers.slice(36), numbers.slice(34, 36), numbers.slice(29, 34), numbers.slice(0, 29)],
        ])
          for (const [number, maps] of await seen(towers, groups))
            maps.forEach((map, k) =>
              expect(
                bytesOf(map).equals(bytesOf(whole.get(number)?.[k])),
                `tower ${k}, picture ${number}, in groups of ${groups.map((group) => group.length).join()}`,
              ).toBe(true),
            );
        // A picture that stands twice in a batch is made once, and read afterwards.
        rmSync(join(root, 'features'), { recursive: true });
        const before = towers.counts;
        const [a, b, again] = await towers.see([7, 8, 7].map(pictureOf));
        const [read] = await towers.see([pictureOf(7)]);
        expect([again, read]).toEqual([a, a]);
        expect(b).not.toEqual(a);
        expect(towers.counts.found).toBe(before.found + 1);
        // A GPU adds few rows in another order than many: one program sees all, however many come.
        expect(asked).toEqual([32]);
      } finally {
        await towers.close();
      }
    },
  );
});

function bytesOf(map: Float32Array | undefined): Buffer {
  return map === undefined ? Buffer.alloc(0) : Buffer.from(map.buffer, map.byteOffset, map.byteLength);
}
