// Golden files of towers, language models and whole models on the GPU in both dtypes: a few, and all of them where there is time.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gpuBackend, type Backend } from '../../pipelines/verify/backends.ts';
import type { ComputeDType } from '../../pipelines/verify/golden-file.ts';
import { verifyFile } from '../../pipelines/verify/verify.ts';
import { everything } from '../support/share.ts';
import { withoutGpu } from './compare.ts';

const folder = join(import.meta.dirname, '../golden/models');
const all = readdirSync(folder).flatMap((file) =>
  (['f32', 'f16'] as const).map((dtype): readonly [string, ComputeDType] => [
    file.replace(/\.safetensors$/, ''),
    dtype,
  ]),
);
/** Others are in `encoders.test.ts` and `llm.test.ts`. */
const some: readonly (readonly [string, ComputeDType])[] = [['qwen2.5-vl', 'f16']];

describe.skipIf(withoutGpu)('golden files of models', () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await gpuBackend();
  });
  afterAll(() => backend.close());

  test.each(everything ? all : some)(
    '%s in %s',
    async (name, dtype) => {
      const rows = await verifyFile(join(folder, `${name}.safetensors`), backend, dtype);
      expect(rows.length).toBeGreaterThan(0);
      expect(rows.filter((row) => row.verdict !== 'ok')).toEqual([]);
    },
    400_000,
  );
});
