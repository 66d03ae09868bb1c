// LLaVA on the GPU: golden files of its connectors in both dtypes, and pictures to answer through programs that share weights and states.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gpuBackend, type Backend } from '../../pipelines/verify/backends.ts';
import { verifyFile } from '../../pipelines/verify/verify.ts';
import { compile } from '../../compiler/compile.ts';
import { turnTables } from '../../models/decoders/turn-graph.ts';
import { anyresLayout, anyresSlots } from '../../models/sequence/anyres.ts';
import { llavaDecodeGraph, llavaPrefillGraph } from '../support/llava-turns.ts';
import { llavaVisionGraph } from '../../models/multimodal/llava/llava-graphs.ts';
import { layOutPrompts } from '../../models/multimodal/llava/llava-prompts.ts';
import { deviceProfile, openDevice } from '../../runtime/device/dawn.ts';
import { load } from '../../runtime/program/program.ts';
import { SharedBuffers } from '../../runtime/program/shared-buffers.ts';
import { answer, noise, tinyNext, tinySource, type Item } from '../support/llava.ts';

const folder = join(import.meta.dirname, '../golden/connectors');

describe('golden files', () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await gpuBackend();
  });
  afterAll(() => backend.close());

  const files = [
    'llava-mlp',
    'llava-mlp-res',
    'llava-next-pooler',
    'llava-next-2dpool',
    'llava-onevision-anyres-pack',
    'vip-llava',
    'mistral3-projector',
  ];
  test.each(files.flatMap((name) => (['f32', 'f16'] as const).map((dtype) => [name, dtype] as const)))(
    '%s in %s',
    async (name, dtype) => {
      const rows = await verifyFile(join(folder, `${name}.safetensors`), backend, dtype);
      expect(rows.length).toBeGreaterThan(0);
      expect(rows.filter((row) => row.verdict !== 'ok')).toEqual([]);
    },
    120_000,
  );
});

/** ‖a − b‖ / ‖b‖ */
function relative(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const norm = (values: readonly number[]) => Math.hypot(...values);
  return norm(Array.from(b, (x, i) => x - (a[i] ?? NaN))) / norm(Array.from(b));
}

test.each([
  ['old', 'f32', 1e-5],
  ['new', 'f16', 5e-3],
] as const)(
  'a picture in tiles, %s names, %s: prefill and two steps',
  async (names, dtype, bound) => {
    const layout = anyresLayout({ height: 20, width: 24 }, { canvases: tinyNext.canvases, tile: 12, side: 3 });
    expect(layout).toMatchObject({ canvas: [24, 24], views: 5, area: { top: 0, height: 6, width: 6 } });
    const views = [1, 2, 3, 4, 5].map((seed) => noise(seed));
    const options = { batch: 1, capacity: 80, promptLimit: 72, viewLimit: 6 };
    const { ids, slots, last, length } = layOutPrompts(
      [{ ids: [1, 49, 8], images: [anyresSlots(layout, 0)] }],
      tinyNext,
      options,
    );
    const of = (y: number, x: number): Item => ({
      view: 1 + 2 * Math.floor(y / 3) + Math.floor(x / 3),
      token: 3 * (y % 3) + (x % 3),
    });
    const tiles = [0, 1, 2, 3, 4, 5].flatMap((y): readonly Item[] => [
      ...[0, 1, 2, 3, 4, 5].map((x) => of(y, x)),
      'newline',
    ]);
    const items: readonly Item[] = [
      { id: 1 },
      ...Array.from({ length: 9 }, (_, token): Item => ({ view: 0, token })),
      ...tiles,
      { id: 8 },
    ];

    const device = await openDevice();
    try {
      const [profile, shared, source] = [
        deviceProfile(device),
        new SharedBuffers(),
        tinySource(tinyNext, names, dtype),
      ];
      const { language } = tinyNext;
      const vision = await load(compile(llavaVisionGraph(source, tinyNext, options), profile), device, source, {
        shared,
      });
      const prefill = await load(compile(llavaPrefillGraph(source, tinyNext, options), profile), device, source, {
        shared,
      });
      const decode = await load(compile(llavaDecodeGraph(source, tinyNext, options), profile), device, source, {
        shared,
      });
      for (const [view, pixels] of views.entries()) await vision.run({ pixels }, { symbols: { view } });
      const first = await prefill.run(
        {
          ids,
          slots,
          last,
          ...turnTables(
            language.config,
            items.map((_, i) => i),
          ),
        },
        { symbols: { s: length } },
      );
      expect(relative(first['logits']?.data ?? [], answer(tinyNext, views, items))).toBeLessThan(bound);
      for (const [step, id] of [12, 41].entries()) {
        const next = await decode.run(
          { ids: [id], ...turnTables(language.config, [length + step]) },
          { symbols: { past: length + step } },
        );
        expect(
          relative(
            next['logits']?.data ?? [],
            answer(tinyNext, views, [...items, ...[12, 41].slice(0, step + 1).map((told) => ({ id: told }))]),
          ),
        ).toBeLessThan(bound);
      }
      for (const program of [vision, prefill, decode]) program.dispose();
    } finally {
      device.close();
    }
  },
  180_000,
);
