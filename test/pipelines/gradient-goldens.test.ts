// Gradients against PyTorch's in float64: single ops, SVA layers, and the connector under a language model.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gpuBackend, referenceBackend, type Backend } from '../../pipelines/verify/backends.ts';
import { verifyFile } from '../../pipelines/verify/verify.ts';
import { everything } from '../support/share.ts';

const folder = join(import.meta.dirname, '../golden/training');
const files = readdirSync(folder).filter((name) => /^grad_.*\.safetensors$/.test(name));

async function hold(name: string, backend: Backend): Promise<void> {
  const rows = await verifyFile(join(folder, name), backend);
  expect(rows.filter((row) => row.tensor.startsWith('grad.')).length).toBeGreaterThan(20);
  expect(rows.filter((row) => row.verdict !== 'ok')).toEqual([]);
}

test('they are there', () => expect(files.length).toBeGreaterThanOrEqual(9));

test.each(files)('%s, on the interpreter', async (name) => {
  await hold(name, referenceBackend());
});

// Hundreds of kernels, each compiled by the driver once: minutes on a software device.

describe.skipIf(process.env['OPABINIA_NO_GPU'] === '1')('on the GPU', () => {
  let gpu: Backend;
  beforeAll(async () => {
    gpu = await gpuBackend();
  });
  afterAll(() => gpu.close());

  test.each(everything ? files : ['grad_sva_joint_small_variance.safetensors'])(
    '%s',
    async (name) => {
      await hold(name, gpu);
    },
    600_000,
  );
});
