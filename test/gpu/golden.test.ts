// Every golden file of Cambrian's own code, compiled and run on the GPU in f32.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gpuBackend, type Backend } from '../../pipelines/verify/backends.ts';
import { verifyFile } from '../../pipelines/verify/verify.ts';

const folder = join(import.meta.dirname, '../golden/cambrian');
const files = readdirSync(folder).filter((name) => name.endsWith('.safetensors'));

describe.skipIf(!existsSync(join(import.meta.dirname, '../../compiler/compile.ts')))('golden files on the GPU', () => {
  let backend: Backend;
  beforeAll(async () => {
    backend = await gpuBackend();
  });
  afterAll(() => backend.close());

  test.each(files)(
    '%s',
    async (name) => {
      const rows = await verifyFile(join(folder, name), backend);
      expect(rows.length).toBeGreaterThan(0);
      expect(rows.filter((row) => row.verdict !== 'ok')).toEqual([]);
    },
    120_000,
  );
});
