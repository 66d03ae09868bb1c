// Connectors on the GPU: golden files in both dtypes, a few, and all of them where there is time.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gpuBackend, type Backend } from '../../pipelines/verify/backends.ts';
import { verifyFile } from '../../pipelines/verify/verify.ts';
import { withoutGpu } from './compare.ts';
import { everything } from '../support/share.ts';

const folder = join(import.meta.dirname, '../golden/connectors');
const all = readdirSync(folder).map((file) => file.replace(/\.safetensors$/, ''));
/** One or two a family. */
const some = [
  'llava-mlp',
  'internvl-official-ps',
  'gemma4-position-pool',
  'mobilevlm-ldpv2',
  'mof-interleave',
  'qwen-resampler',
  'tokenpacker',
  'flamingo-gated-xattn',
  'visionzip',
];

describe.skipIf(withoutGpu)('golden files of connectors', () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await gpuBackend();
  });
  afterAll(() => backend.close());

  const files = everything ? all : some;
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
