// Connectors in configurations that the files of `golden/connectors` have not: made with transformers 5.18, and for those that it has not
// with PyTorch after the code of each; weights and inputs are exact in f16.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { referenceBackend } from '../../pipelines/verify/backends.ts';
import { verifyFile } from '../../pipelines/verify/verify.ts';

const folder = join(import.meta.dirname, '../golden/connector-variants');
const files = readdirSync(folder).filter((name) => name.endsWith('.safetensors'));

test('they are there', () => expect(files.length).toBe(14));

test.each(files)('%s', async (name) => {
  const rows = await verifyFile(join(folder, name), referenceBackend(), 'f32');
  expect(rows.length).toBeGreaterThan(0);
  expect(rows.filter((row) => row.verdict !== 'ok')).toEqual([]);
});

test.each([
  ['kimi-oblong', /'merge' .* is not a square/],
  ['deepseek-vl2-linear', /'projector_type' .* is 'linear'/],
  ['s2-prefix-tokens', /'num_prefix_token' .* is not 0/],
  ['vila-unknown-projector', /'mm_projector_type' .* is 'mlp_downsample_3x3_s2'/],
  ['molmo-unknown-pooling', /'pooling' .* is 'none'[^]*attention, attention_meanq, stack/],
])('%s is refused, and why', async (name, why) =>
  expect(verifyFile(join(folder, 'refused', `${name}.safetensors`), referenceBackend(), 'f32')).rejects.toThrow(why),
);
