// Packed weights of MLX, compressed-tensors, AWQ and GPTQ: every golden file, and what is refused.
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { referenceBackend } from '../../pipelines/verify/backends.ts';
import { verifyFile } from '../../pipelines/verify/verify.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { packedCheckpoint } from '../../runtime/checkpoint/packed/packed-checkpoint.ts';
import { packedConfig } from '../../runtime/checkpoint/packed/packed-config.ts';
import { writeSafetensors } from '../../runtime/checkpoint/safetensors-write.ts';

const folder = join(import.meta.dirname, '../golden/quant');
const files = readdirSync(folder).filter(
  (name) => name.endsWith('.safetensors') && !name.endsWith('.expected.safetensors'),
);
const scratch = mkdtempSync(join(tmpdir(), 'opabinia-packed-'));
afterAll(() => rmSync(scratch, { recursive: true }));

describe('golden files', () => {
  test('they are there', () => expect(files.length).toBeGreaterThanOrEqual(22));

  test.each(files)('%s', async (name) => {
    const rows = await verifyFile(join(folder, name), referenceBackend());
    expect(rows.map((row) => row.tensor)).toEqual(expect.arrayContaining(['dequantised', 'product']));
    expect(rows.filter((row) => row.verdict !== 'ok')).toEqual([]);
  });
});

/** Opens the tensors `layer.*` of a golden file, some of them changed. */
function opened(name: string, change: { readonly config?: object; readonly idx?: (k: number) => number } = {}) {
  const source = openCheckpoint(join(folder, name));
  const stated = JSON.parse(source.metadata.get('config') ?? '{}') as { readonly checkpoint_config: object };
  const path = join(scratch, `${Math.random().toString(36).slice(2)}.safetensors`);
  const tensors = [...source.stored.values()]
    .filter((tensor) => tensor.name.startsWith('layer.'))
    .map((tensor) => ({
      name: tensor.name,
      dtype: tensor.dtype,
      shape: tensor.shape,
      values: Array.from(source.tensor(tensor.name), Number).map((value, i) =>
        tensor.name === 'layer.g_idx' ? (change.idx?.(i) ?? value) : value,
      ),
    }));
  writeSafetensors(path, tensors, {});
  source.close();
  const config = packedConfig({ ...(change.config ?? stated.checkpoint_config) }, 'config.json');
  if (config === undefined) throw new Error('a config without quantization');
  return packedCheckpoint(openCheckpoint(path), config);
}

test('a packed module reads as one weight, in parts as whole', () => {
  const checkpoint = opened('gptq-g128-actorder.safetensors');
  expect([...(checkpoint.names() ?? [])]).toEqual(['layer.weight']);
  const whole = checkpoint.read('layer.weight', [32, 512]);
  expect(checkpoint.part('layer.weight', [32, 512], 700, 900)).toEqual(whole.slice(700, 1600));
  expect(() => checkpoint.read('layer.weight', [512, 32])).toThrow(/32×512, and 512×32 was asked for/);
});

const method = (fields: object): object => ({ quantization_config: { bits: 4, group_size: 64, ...fields } });

test.each([
  [
    'an unknown method',
    { quant_method: 'bitsandbytes' },
    /quantized by "bitsandbytes"[\s\S]*one of mlx, compressed-tensors, awq, gptq/,
  ],
  ['another order of AWQ', { quant_method: 'awq', version: 'gemv' }, /AWQ of version "gemv"/],
  ['Marlin', { quant_method: 'gptq', checkpoint_format: 'marlin' }, /GPTQ in the format "marlin"/],
  ['no bits', { quant_method: 'gptq', bits: 'four' }, /has "four" bits/],
  ['another mode of MLX', { mode: 'mxfp4' }, /mode "mxfp4"/],
])('refuses %s', (_what, fields, message) => {
  expect(() => packedConfig({ ...method(fields) }, 'config.json')).toThrow(message);
});

test.each([
  [
    'a group that does not divide',
    'gptq-g64-sym.safetensors',
    { config: method({ quant_method: 'gptq', group_size: 96 }) },
    /rows of 512 elements, which groups of 96/,
  ],
  ['three bits', 'gptq-g64-sym.safetensors', { config: method({ quant_method: 'gptq', bits: 3 }) }, /has 3 bits/],
  [
    'scales of another group',
    'awq-gemm-g64.safetensors',
    { config: method({ quant_method: 'awq', group_size: 128 }) },
    /'scales' as 8×32 where 4×32 belongs/,
  ],
  [
    'groups of unequal size',
    'gptq-g64-sym.safetensors',
    { idx: (k: number) => (k < 100 ? 0 : 1) },
    /100 columns in group 0, not 64/,
  ],
])('refuses %s', (_what, name, change, message) => {
  expect(() => opened(name, change)).toThrow(message);
});
