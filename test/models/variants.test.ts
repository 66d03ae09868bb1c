// Configurations that no released model has, as the original code computes them: small files of timm, open_clip and transformers, how they
// stretch rotations, fields that their code does not read, and what is refused because it would be computed otherwise.
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { ConfigReader } from '../../models/configs/config-reader.ts';
import { frequencies, readRope, ropeTables } from '../../models/decoders/rope.ts';
import { eva02 } from '../../models/towers/backbones/eva02.ts';
import { openClip } from '../../models/towers/backbones/openclip.ts';
import { timmVit } from '../../models/towers/backbones/timm-vit.ts';
import { qwenTowerConfig } from '../../models/towers/qwen-vl-config.ts';
import { referenceBackend } from '../../pipelines/verify/backends.ts';
import { verifyFile } from '../../pipelines/verify/verify.ts';
import { changedGolden, type Config } from '../support/changed-golden.ts';

const golden = join(import.meta.dirname, '../golden');
const scratch = mkdtempSync(join(tmpdir(), 'opabinia-variants-'));
afterAll(() => rmSync(scratch, { recursive: true }));

async function wrong(path: string): Promise<readonly string[]> {
  const rows = await verifyFile(path, referenceBackend());
  expect(rows.length).toBeGreaterThan(3);
  return rows.filter((row) => row.verdict !== 'ok').map((row) => row.tensor);
}

test.each(readdirSync(join(golden, 'variants')))('%s', async (name) => {
  expect(await wrong(join(golden, 'variants', name))).toEqual([]);
});

interface Stretched {
  readonly what: string;
  readonly config: Readonly<Record<string, unknown>>;
  readonly amplitude: number;
  readonly at: readonly { readonly length: number; readonly frequencies: readonly number[] }[];
}

describe('rotations are stretched as transformers does', () => {
  const { cases } = JSON.parse(readFileSync(join(golden, 'rope-scalings.json'), 'utf8')) as {
    readonly cases: readonly Stretched[];
  };
  test.each(cases.map((one) => [one.what, one] as const))('%s', (_what, { config, amplitude, at }) => {
    const rope = readRope(new ConfigReader(config, 'a config'), Number(config['head_dim'] ?? 12));
    for (const { length, frequencies: expected } of at) {
      const made = frequencies(rope, length);
      expect(made.length).toBe(expected.length);
      expected.forEach((frequency, j) => {
        expect((made[j] ?? 0) / frequency).toBeCloseTo(1, 5);
      });
    }
    expect(ropeTables(rope, [0]).cos[0]).toBeCloseTo(amplitude, 6);
  });
});

test("what YaRN's own models say besides", () => {
  const rope = (more: object) =>
    readRope(
      new ConfigReader(
        { rope_scaling: { type: 'yarn', factor: 4, original_max_position_embeddings: 16, ...more } },
        'a config',
      ),
      8,
    );
  expect(rope({ finetuned: true })).toEqual(rope({}));
  expect(() => rope({ finetunes: true })).toThrow(/finetunes/);
});

// Phi3RotaryEmbedding of transformers 5.18.
test.each(['longrope', 'su', 'yarn'])("Phi-3's rotations by the name of '%s'", (type) => {
  const rope_scaling = { type, short_factor: [1, 1.1, 1.2, 1.3], long_factor: [2, 2.1, 2.2, 2.3] };
  const config = { max_position_embeddings: 64, original_max_position_embeddings: 16, rope_theta: 500, rope_scaling };
  const rope = readRope(new ConfigReader(config, 'a config'), 8);
  const short = [1, 0.19224931299686432, 0.03726779669523239, 0.007274935487657785];
  short.forEach((frequency, j) => expect((frequencies(rope, 16)[j] ?? 0) / frequency).toBeCloseTo(1, 5));
  expect(ropeTables(rope, [0]).cos[0]).toBeCloseTo(1.224744871391589, 6);
});

describe('what the original code does not read changes nothing', () => {
  const text = (config: Config, values: Config): Config => ({
    ...config,
    text_config: { ...(config['text_config'] as Config), ...values },
  });
  test.each<[string, string, (config: Config) => Config]>([
    ['a cap of scores', 'gemma3', (config) => ({ ...config, attn_logit_softcapping: 3 })],
    ['a cap of logits in a whole model', 'gemma3-vl', (config) => text(config, { final_logit_softcapping: 3 })],
    [
      'whether positions are interleaved',
      'qwen3-vl',
      (config) => text(config, { rope_scaling: { rope_type: 'default', mrope_section: [4, 2, 2] } }),
    ],
  ])('%s: %s', async (_what, name, change) => {
    expect(await wrong(changedGolden(join(golden, 'models', `${name}.safetensors`), scratch, change))).toEqual([]);
  });
});

describe('what would be computed otherwise is refused', () => {
  const timm = (args: Config) =>
    new ConfigReader({ model_args: { img_size: 32, swiglu_mlp: true, ...args } }, 'a file');
  test.each<[string, () => unknown, RegExp]>([
    ['pictures padded to whole patches', () => timmVit.read(timm({ dynamic_img_pad: true })), /dynamic_img_pad/],
    ['no class token', () => timmVit.read(timm({ class_token: false })), /class_token/],
    ['norms of queries and keys', () => timmVit.read(timm({ qk_norm: true })), /qk_norm/],
    ['norms behind', () => eva02.read(timm({ use_post_norm: true })), /use_post_norm/],
    ['halves turned', () => eva02.read(timm({ rope_rotate_half: true })), /rope_rotate_half/],
    ['columns first', () => eva02.read(timm({ rope_grid_indexing: 'xy' })), /rope_grid_indexing[^]*"xy"[^]*"ij" alone/],
    [
      'another pooling',
      () => openClip.read(new ConfigReader({ vision_cfg: { pool_type: 'avg' } }, 'a file')),
      /pool_type/,
    ],
    [
      'the last norm behind the pooling',
      () => openClip.read(new ConfigReader({ vision_cfg: { final_ln_after_pool: true } }, 'a file')),
      /final_ln_after_pool/,
    ],
    [
      'a tap behind the last block',
      () => qwenTowerConfig(new ConfigReader({ depth: 3, deepstack_visual_indexes: [1, 3] }, 'a file'), 'qwen3'),
      /deepstack_visual_indexes[^]*3 blocks/,
    ],
  ])('%s', (_what, read, message) => expect(read).toThrow(message));
});
