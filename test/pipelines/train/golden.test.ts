// PyTorch's own trainings: optimizers, accumulation, steps of Cambrian's stages, on the interpreter; on the device those that are small.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { gpuBackend, referenceBackend } from '../../../pipelines/verify/backends.ts';
import { verifyFile } from '../../../pipelines/verify/verify.ts';
import { everything } from '../../support/share.ts';

const folder = join(import.meta.dirname, '../../golden/training');
const files = readdirSync(folder).filter((name) => name.startsWith('train_'));

describe('on the interpreter', () => {
  test('they are there', () => expect(files.length).toBeGreaterThanOrEqual(8));

  test.each(files)('%s', { timeout: 120_000 }, async (name) => {
    const rows = await verifyFile(join(folder, name), referenceBackend());
    expect(rows.length).toBeGreaterThan(5);
    expect(rows.filter((row) => row.verdict !== 'ok')).toEqual([]);
  });
});

describe('on the interpreter in f16', () => {
  const quick = /sgd|accumulation/;
  // One step of AdamW is the sign of a gradient, and in f16 that of one in a hundred values is chance: a tensor of 32 values is then off
  // by more than any drawn run of it, at a constant rate without warmup.
  const chance = /stage1_constant/;
  test.each(files.filter((name) => quick.test(name) || (everything && !chance.test(name))))(
    '%s',
    { timeout: 300_000 },
    async (name) => {
      const rows = await verifyFile(join(folder, name), referenceBackend(), 'f16');
      expect(rows.filter((row) => row.verdict !== 'ok')).toEqual([]);
      // A derived bound, and not that of f32.
      expect(rows.filter(({ tensor }) => tensor === 'loss').map(({ bound }) => bound > 1e-5)).toEqual([true]);
    },
  );
});

describe('on the device', () => {
  test.each(files.filter((name) => everything || /adamw_constant|accumulation/.test(name)))(
    '%s',
    { timeout: 900_000 },
    async (name) => {
      const backend = await gpuBackend();
      try {
        const rows = await verifyFile(join(folder, name), backend);
        expect(rows.filter((row) => row.verdict !== 'ok')).toEqual([]);
      } finally {
        backend.close();
      }
    },
  );
});
