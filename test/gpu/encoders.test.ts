// Vision encoders compiled and run on the GPU: golden files in f32, and what Cambrian takes of each tower by itself in both dtypes.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gpuBackend, type Backend } from '../../pipelines/verify/backends.ts';
import { halfBounds } from '../../pipelines/verify/half-bounds.ts';
import { compare, modelTolerance } from '../../pipelines/verify/verdict.ts';
import { GoldenFile } from '../../pipelines/verify/golden-file.ts';
import { verifyFile } from '../../pipelines/verify/verify.ts';
import { trace, type Params } from '../../dsl/index.ts';
import { clipConfig, clipFeatures, clipUnread } from '../../models/towers/clip.ts';
import type { FeatureMap } from '../../models/sequence/regions.ts';
import { convNextConfig, convNextFeatures } from '../../models/towers/convnext.ts';
import { convNextUnread } from '../../models/towers/convnext-shapes.ts';
import { dinov2Config, dinov2Features } from '../../models/towers/dinov2.ts';
import { dinov2Unread } from '../../models/towers/dinov2-shapes.ts';
import { siglipConfig, siglipFeatures } from '../../models/towers/siglip.ts';
import { siglipUnread } from '../../models/towers/siglip-names.ts';
import { channelsLast, type Pixels } from '../../models/towers/tower.ts';
import { share } from '../support/share.ts';

type Tower = (file: GoldenFile) => {
  readonly unread: readonly string[];
  readonly build: (p: Params, x: Pixels, side: number) => FeatureMap;
};

const towers: readonly (readonly [file: string, output: string, Tower])[] = [
  [
    'clip-vit',
    'patch_features',
    (file) => ({ unread: clipUnread, build: (p, x) => clipFeatures(p, x, clipConfig(file.config)) }),
  ],
  [
    'siglip-vit',
    'erf.cambrian_features',
    (file) => ({
      unread: siglipUnread,
      build: (p, x, side) =>
        siglipFeatures(p, x, { ...siglipConfig(file.config), activation: 'exact' }, { grid: [side, side] }),
    }),
  ],
  [
    'dinov2',
    'offset01.cambrian_features',
    (file) => ({
      unread: dinov2Unread,
      build: (p, x, side) => dinov2Features(p, x, dinov2Config(file.config), { grid: [side, side] }),
    }),
  ],
  [
    'dinov2-swiglu',
    'offset01.cambrian_features',
    (file) => ({
      unread: dinov2Unread,
      build: (p, x, side) => dinov2Features(p, x, dinov2Config(file.config), { grid: [side, side] }),
    }),
  ],
  [
    'convnext',
    'cambrian_features',
    (file) => ({
      unread: convNextUnread,
      build: (p, x, side) => convNextFeatures(p, x, convNextConfig(file.config), { grid: [side, side] }),
    }),
  ],
];

describe('vision encoders on the GPU', () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await gpuBackend();
  });
  afterAll(() => backend.close());
  const path = (name: string) => join(import.meta.dirname, `../golden/models/${name}.safetensors`);

  test.each(towers.map(([name]) => name))(
    '%s, intermediates and all',
    async (name) => {
      const rows = await verifyFile(path(name), backend);
      expect(rows.length).toBeGreaterThan(6);
      expect(rows.filter((row) => row.verdict !== 'ok')).toEqual([]);
    },
    120_000,
  );

  test.each(
    // In f32 the golden files above hold the same with all intermediates.
    share(
      towers.filter(([name]) => name === 'clip-vit' || name === 'convnext'),
      towers,
    ).flatMap(([name, output, tower]) =>
      share(['f16'] as const, ['f32', 'f16'] as const).map((dtype) => ({ name, output, tower, dtype })),
    ),
  )(
    '$name: $output alone in $dtype',
    async ({ name, output, tower, dtype }) => {
      const file = new GoldenFile(path(name), dtype);
      try {
        const { unread, build } = tower(file);
        const [b = 1, c = 3, h = 1, w = 1] = file.shape('input.pixel_values');
        const side = Math.sqrt(file.size(`output.${output}`, 1));
        const graph = trace(
          file.checkpoint,
          (t) => ({ y: build(t.params, channelsLast(t.input('x', 'b c h w', { b, c, h, w }, dtype)), side) }),
          { unread: ['input', 'output', ...unread] },
        );
        const inputs = new Map([['x', file.numbers('input.pixel_values')]]);
        const outputs = await backend.run(graph, file.checkpoint, inputs);
        const params = (at: string, shape: number[]) => file.checkpoint.read(at, shape);
        const half = dtype === 'f16' ? halfBounds(graph, { inputs, params }).get('y') : undefined;
        const row = compare(
          output,
          file.shape(`output.${output}`),
          outputs.get('y'),
          file.numbers(`output.${output}`),
          dtype,
          modelTolerance,
          half,
        );
        expect(row.verdict).toBe('ok');
      } finally {
        file.checkpoint.close();
      }
    },
    120_000,
  );
});
