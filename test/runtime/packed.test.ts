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
import { writeSafetensors, type TensorToStore } from '../../runtime/checkpoint/safetensors-write.ts';

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

interface Change {
  readonly config?: object;
  readonly idx?: (k: number) => number;
  /** A tensor in other clothes; undefined leaves it out. */
  readonly tensor?: (tensor: TensorToStore) => TensorToStore | undefined;
}

/** Opens the tensors `layer.*` of a golden file, some of them changed. */
function opened(name: string, change: Change = {}) {
  const source = openCheckpoint(join(folder, name));
  const stated = JSON.parse(source.metadata.get('config') ?? '{}') as { readonly checkpoint_config: object };
  const path = join(scratch, `${Math.random().toString(36).slice(2)}.safetensors`);
  const tensors = [...source.stored.values()]
    .filter((tensor) => tensor.name.startsWith('layer.'))
    .flatMap((tensor) => {
      const own = {
        name: tensor.name,
        dtype: tensor.dtype,
        shape: tensor.shape,
        values: Array.from(source.tensor(tensor.name), Number).map((value, i) =>
          tensor.name === 'layer.g_idx' ? (change.idx?.(i) ?? value) : value,
        ),
      };
      return (change.tensor === undefined ? own : change.tensor(own)) ?? [];
    });
  writeSafetensors(path, tensors, {});
  source.close();
  const config = packedConfig({ ...(change.config ?? stated.checkpoint_config) }, 'config.json');
  if (config === undefined) throw new Error('a config without quantization');
  return packedCheckpoint(openCheckpoint(path), config);
}

test.each([
  ['dense', undefined],
  ['sparse-24-bitmask', /'sparsity_config'[^]*not known/],
])("compressed-tensors' sparsity of the format %s", (format, refusal) => {
  const sparsity_config = { format, global_sparsity: 0.1, ignore: [], sparsity_structure: 'unstructured' };
  const weights = { num_bits: 4, group_size: 32 };
  const json = {
    quantization_config: { quant_method: 'compressed-tensors', config_groups: { all: { weights } }, sparsity_config },
  };
  if (refusal === undefined) expect(packedConfig(json, 'config.json')).toMatchObject({ method: 'compressed-tensors' });
  else expect(() => packedConfig(json, 'config.json')).toThrow(refusal);
});

test("what transformers' Metal quantizer writes is MLX's by other names", () => {
  const name = 'mlx-q4-g64-f16.safetensors';
  const golden = openCheckpoint(join(folder, name));
  const config = {
    quantization_config: { quant_method: 'metal', bits: 4, group_size: 64, modules_to_not_convert: ['a'] },
  };
  const tensor = (one: TensorToStore): TensorToStore => ({ ...one, name: one.name.replace('biases', 'qbiases') });
  const checkpoint = opened(name, { config, tensor });
  expect([...(checkpoint.names() ?? [])]).toEqual(['layer.weight']);
  expect(checkpoint.tensor('layer.weight')).toEqual(golden.tensor('output.dequantised'));
  golden.close();
});

test('a packed module reads as one weight, in parts as whole', () => {
  const checkpoint = opened('gptq-g128-actorder.safetensors');
  expect([...(checkpoint.names() ?? [])]).toEqual(['layer.weight']);
  const whole = checkpoint.read('layer.weight', [32, 512]);
  expect(checkpoint.part('layer.weight', [32, 512], 700, 900)).toEqual(whole.slice(700, 1600));
  expect(() => checkpoint.read('layer.weight', [512, 32])).toThrow(/32×512, and 512×32 was asked for/);
});

/** `weight_g_idx` in the place of `weight_shape`, which need not be there. */
const grouped =
  (groupOf: (column: number) => number) =>
  (one: TensorToStore): TensorToStore =>
    one.name === 'layer.weight_shape'
      ? {
          name: 'layer.weight_g_idx',
          dtype: 'I32',
          shape: [512],
          values: Array.from({ length: 512 }, (_, k) => groupOf(k)),
        }
      : one;

test("compressed-tensors with actorder 'group': a column has the scale and the zero point of its group", () => {
  const name = 'compressed-tensors-asym-g64-f16.safetensors';
  const source = openCheckpoint(join(folder, name));
  const [codes, scales, zeros] = ['weight_packed', 'weight_scale', 'weight_zero_point'].map((part) =>
    source.tensor(`layer.${part}`),
  );
  const [rows = 0] = source.shape('layer.weight_packed') ?? [];
  const nibble = (words: ArrayLike<number | bigint> | undefined, word: number, place: number): number =>
    (Number(words?.[word]) >>> (4 * place)) & 15;
  const expected = Float32Array.from({ length: rows * 512 }, (_, i) => {
    const [n, k] = [Math.floor(i / 512), i % 512];
    const group = k % 8;
    const code = nibble(codes, n * 64 + (k >> 3), k & 7);
    return (code - nibble(zeros, (n >> 3) * 8 + group, n & 7)) * Number(scales?.[n * 8 + group]);
  });
  const weights = { num_bits: 4, type: 'int', symmetric: false, group_size: 64, strategy: 'group', actorder: 'group' };
  const config = {
    quantization_config: { quant_method: 'compressed-tensors', config_groups: { group_0: { weights } } },
  };
  expect(opened(name, { config, tensor: grouped((k) => k % 8) }).tensor('layer.weight')).toEqual(expected);
  // As the library leaves it where nothing was sorted.
  expect(opened(name, { config, tensor: grouped(() => -1) }).tensor('layer.weight')).toEqual(
    source.tensor('output.dequantised'),
  );
  source.close();
});

const method = (fields: object): object => ({ quantization_config: { bits: 4, group_size: 64, ...fields } });

/** What AwqConfig and GPTQConfig of transformers 5.18 write, whatever they are given. */
const transformers5 = {
  tokenizer: null,
  dataset: null,
  damp_percent: 0.1,
  desc_act: false,
  act_group_aware: true,
  sym: true,
  true_sequential: true,
  meta: null,
  backend: 'auto',
  model_seqlen: null,
  block_name_to_quantize: null,
  module_name_preceding_first_block: null,
  batch_size: 1,
  pad_token_id: null,
  max_input_length: null,
  cache_block_outputs: true,
  modules_in_block_to_quantize: null,
};

test.each([
  ['GPTQ of the second format, by the key of today alone', 'gptq-v2-g64-actorder', { format: 'GPTQ_v2' }],
  [
    'GPTQ of the second format as transformers 5.18 writes it',
    'gptq-v2-g64-actorder',
    { ...transformers5, format: 'gptq_v2', checkpoint_format: 'gptq_v2', desc_act: true },
  ],
  [
    'AWQ as transformers 5.18 writes it',
    'awq-gemm-g64',
    { ...transformers5, quant_method: 'awq', zero_point: true, format: 'gemm', version: 'gemm' },
  ],
  ['AWQ by the key of today alone', 'awq-gemm-g64', { quant_method: 'awq', zero_point: true, format: 'gemm' }],
])('%s', (_what, name, fields) => {
  const golden = openCheckpoint(join(folder, `${name}.safetensors`));
  const expected = golden.tensor('output.dequantised');
  const config = method({ quant_method: 'gptq', ...fields });
  expect(opened(`${name}.safetensors`, { config }).tensor('layer.weight')).toEqual(expected);
  golden.close();
});

test.each([
  [
    'an unknown method',
    { quant_method: 'bitsandbytes' },
    /quantized by "bitsandbytes"[\s\S]*one of mlx, metal, compressed-tensors, awq, gptq/,
  ],
  ['another order of AWQ', { quant_method: 'awq', version: 'gemv' }, /AWQ of version "gemv"/],
  ['Marlin', { quant_method: 'gptq', checkpoint_format: 'marlin' }, /GPTQ in the format "marlin"/],
  ['no bits', { quant_method: 'gptq', bits: 'four' }, /has "four" bits/],
  ['another mode of MLX', { mode: 'mxfp4' }, /mode "mxfp4"/],
  ['Marlin by the key of today', { quant_method: 'gptq', format: 'marlin' }, /GPTQ in the format "marlin"/],
  ['Marlin by a flag', { quant_method: 'gptq', is_marlin_format: true }, /'is_marlin_format'[^]*not known/],
  [
    'two formats',
    { quant_method: 'gptq', format: 'gptq_v2', checkpoint_format: 'gptq' },
    /format 'gptq_v2' and the checkpoint_format 'gptq'/,
  ],
  ['another order of AWQ by the key of today', { quant_method: 'awq', format: 'gemv' }, /AWQ of version "gemv"/],
  ['AWQ of another program', { quant_method: 'awq', backend: 'llm-awq' }, /backend 'llm-awq'/],
  ['AWQ with columns out of order', { quant_method: 'awq', desc_act: true }, /'desc_act'[^]*not known/],
])('refuses %s', (_what, fields, message) => {
  expect(() => packedConfig({ ...method(fields) }, 'config.json')).toThrow(message);
});

type Refusal = readonly [what: string, name: string, change: Change, message: RegExp];

const refusals: readonly Refusal[] = [
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
  ...(['F32', 'I64', 'U8'] as const).flatMap((dtype) =>
    [
      ['gptq-g128', 'qzeros'],
      ['gptq-g128', 'qweight'],
      ['gptq-g128-actorder', 'g_idx'],
      ['awq-gemm-g64', 'qzeros'],
      ['compressed-tensors-asym-g64-f16', 'weight_zero_point'],
    ].map(([name = '', part = '']): Refusal => [
      `${part} of ${name} as ${dtype}`,
      `${name}.safetensors`,
      {
        tensor: (one: TensorToStore) => (one.name === `layer.${part}` ? { ...one, dtype } : one),
      },
      new RegExp(`the packed weight in .*\\.safetensors has '${part}' as ${dtype}, not as I32[^]*in {2}layer`),
    ]),
  ),
  [
    'a weight_shape of three numbers',
    'compressed-tensors-sym-g32-f16.safetensors',
    {
      tensor: (one: TensorToStore): TensorToStore =>
        one.name === 'layer.weight_shape' ? { ...one, dtype: 'I32', shape: [3], values: [1, 2, 3] } : one,
    },
    /'weight_shape' as 3 where 2 belongs/,
  ],
  [
    'a weight_shape of floats',
    'compressed-tensors-sym-g32-f16.safetensors',
    {
      tensor: (one: TensorToStore): TensorToStore =>
        one.name === 'layer.weight_shape' ? { ...one, dtype: 'F32' } : one,
    },
    /'weight_shape' as F32, not as I64 or I32/,
  ],
  [
    'zero points that the config promises',
    'compressed-tensors-asym-g64-f16.safetensors',
    { tensor: (one: TensorToStore) => (one.name === 'layer.weight_zero_point' ? undefined : one) },
    /has no 'weight_zero_point'/,
  ],
  [
    'columns of one group alone',
    'compressed-tensors-sym-g32-f16.safetensors',
    { tensor: grouped(() => 0) },
    /has 512 columns in group 0, not 32/,
  ],
  ...['gptq-g128', 'awq-gemm-g64'].map((name): Refusal => [
    `no rows of ${name}`,
    `${name}.safetensors`,
    {
      tensor: (one: TensorToStore): TensorToStore =>
        one.shape.length === 2 ? { ...one, shape: [one.shape[0] ?? 0, 0], values: [] } : one,
    },
    /is 0×512: it has no elements/,
  ]),
  [
    'rows of compressed-tensors without columns',
    'compressed-tensors-sym-g128-bf16.safetensors',
    {
      tensor: (one: TensorToStore): TensorToStore | undefined =>
        one.name === 'layer.weight_shape' ? undefined : { ...one, shape: [one.shape[0] ?? 0, 0], values: [] },
    },
    /×0: it has no elements/,
  ],
];

test.each(refusals)('refuses %s', (_what, name, change, message) => {
  expect(() => opened(name, change)).toThrow(message);
});

test('groups that are no multiple of 8 are called that', () => {
  const change: Change = {
    config: {
      quantization_config: {
        quant_method: 'compressed-tensors',
        config_groups: { all: { weights: { num_bits: 4, strategy: 'channel' } } },
      },
    },
    tensor: (one) => {
      if (one.name.endsWith('packed')) return { ...one, shape: [2, 13], values: Array(26).fill(0) };
      if (one.name.endsWith('scale')) return { ...one, shape: [2, 1], values: [1, 1] };
      return { ...one, shape: [2], values: [2, 100] };
    },
  };
  expect(() => opened('compressed-tensors-sym-g32-f16.safetensors', change)).toThrow(
    /groups of 100 elements, which is not a multiple of 8/,
  );
});
