// Every golden file of the further backbones and of the whole models passes on the interpreter, and a single mistake in a config does not.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { backboneOf, backbones } from '../../models/towers/backbones.ts';
import { ropePositions, pictureSlots } from '../../models/multimodal/picture-prompts.ts';
import { gridAngles, gridPlaces, sinCosTable } from '../../models/towers/positions.ts';
import { study, studyGrid } from '../../models/towers/study.ts';
import { countParameters } from '../../models/configs/param-shapes.ts';
import { decoderShapes } from '../../models/configs/decoder-shapes.ts';
import { readDecoder } from '../../models/configs/decoders.ts';
import { releasedDecoders } from '../../models/decoders/families/released.ts';
import { kinds } from '../../pipelines/verify/kinds.ts';
import { referenceBackend } from '../../pipelines/verify/backends.ts';
import { verifyFile } from '../../pipelines/verify/verify.ts';
import { changedGolden, type Config } from '../support/changed-golden.ts';

const folder = join(import.meta.dirname, '../golden/models');
const scratch = mkdtempSync(join(tmpdir(), 'opabinia-backbones-'));
afterAll(() => rmSync(scratch, { recursive: true }));

const files = [
  'aimv2-native',
  'aimv2-vit',
  'dinov2-registers',
  'dinov3-convnext',
  'dinov3-vit',
  'dinov3-vit-gated',
  'dpt-beit',
  'dpt-vit',
  'eva02-clip',
  'eva02-mim',
  'gemma3-vl',
  'ijepa-vit',
  'intern-vit',
  'intern-vit-6b-style',
  'mae-vit',
  'moco-v3',
  'openclip-vit',
  'qwen2.5-vl',
  'qwen2.5-vl-vit',
  'qwen3-vl',
  'qwen3-vl-vit',
  'sam-vit',
  'siglip2-naflex',
  'siglip2-vit',
  'smolvlm',
  'vit-augreg',
];

async function wrong(path: string): Promise<readonly string[]> {
  const rows = await verifyFile(path, referenceBackend());
  expect(rows.length).toBeGreaterThan(0);
  return rows.filter((row) => row.verdict !== 'ok').map((row) => row.tensor);
}

test.each(files)('%s', async (name) => {
  expect(await wrong(join(folder, `${name}.safetensors`))).toEqual([]);
});

describe('one mistake is seen', () => {
  const inside =
    (key: string, values: Config) =>
    (config: Config): Config => ({ ...config, [key]: { ...(config[key] as Config), ...values } });
  test.each<[string, string, (config: Config) => Config, string]>([
    ['another theta', 'dinov3-vit', (config) => ({ ...config, rope_theta: 10_000 }), 'block0'],
    ['another reference grid', 'eva02-clip', inside('model_args', { ref_feat_shape: [6, 6] }), 'block0'],
    ['exact GELU', 'openclip-vit', (config) => ({ ...config, quick_gelu: false }), 'block0'],
    ['windows everywhere', 'sam-vit', (config) => ({ ...config, global_attn_indexes: [] }), 'pre_neck'],
    ['larger windows', 'qwen2.5-vl-vit', (config) => ({ ...config, window_size: 24 }), 'block0'],
    ['another tap', 'qwen3-vl-vit', (config) => ({ ...config, deepstack_visual_indexes: [1, 2] }), 'deepstack0'],
    ['a narrower window', 'gemma3-vl', inside('text_config', { sliding_window: 5 }), 'prefill_logits'],
  ])('%s: %s', async (_what, name, change, output) => {
    expect(await wrong(changedGolden(join(folder, `${name}.safetensors`), scratch, change))).toContain(output);
  });
});

describe('places', () => {
  test('a picture stands at its rows and columns, and text counts on from its longer side', () => {
    const { positions, delta } = ropePositions([1, 9, 9, 9, 9, 9, 9, 2], 9, [[1, 2, 3]]);
    expect(Array.from(positions)).toEqual([0, 1, 1, 1, 1, 1, 1, 4, 0, 1, 1, 1, 2, 2, 2, 4, 0, 1, 2, 3, 1, 2, 3, 4]);
    expect(delta).toBe(5 - 8);
  });

  test('placeholders must be as many as tokens', () => {
    expect(Array.from(pictureSlots([1, 9, 9, 2], 9, 2))).toEqual([-1, 0, 1, -1]);
    expect(() => pictureSlots([1, 9, 2], 9, 2)).toThrow(/1 places for image tokens[^]*2 tokens/);
    expect(() => ropePositions([9], 9, [])).toThrow(/more than 0 pictures/);
  });

  test('angles go by row, then by column; tables begin with sin 0 and cos 0', () => {
    expect(Array.from(gridAngles(gridPlaces([2, 2]), [1, 0.5]).values)).toEqual([
      0, 0, 0, 0, 0, 0, 1, 0.5, 1, 0.5, 0, 0, 1, 0.5, 1, 0.5,
    ]);
    expect(Array.from(sinCosTable([1, 1], 4, 'column', true))).toEqual([0, 0, 0, 0, 0, 1, 0, 1]);
  });
});

test('kinds are found by model type and by names of timm, each once', () => {
  const types = backbones.flatMap((one) => one.types);
  expect(new Set(types).size).toBe(types.length);
  expect(backboneOf('eva02_large_patch14_clip_336.merged2b_s6b_b61k')?.kind).toBe('eva02-vit');
  expect(backboneOf('dinov3_vit')?.kind).toBe('dinov3-vit');
  expect(backboneOf('resnet50')).toBeUndefined();
});

test('the study has 23 rows, each of a kind that verify knows, with as many tokens as its grid or 576', () => {
  expect(study).toHaveLength(23);
  for (const row of study) {
    expect([studyGrid(row) ** 2, 576]).toContain(row.tokens);
    if (row.kind !== 'none') expect([...kinds.keys()]).toContain(row.kind);
  }
});

// Totals as published, or as the reference code counts them on the meta device (specifications of the golden files).
test.each([
  ['qwen2.5-0.5b', 494_032_768],
  ['qwen2.5-7b', 7_615_616_512],
  ['qwen3-0.6b', 596_049_920],
  ['qwen3-8b', 8_190_735_360],
  ['mistral-7b', 7_248_023_552],
  ['gemma-3-1b', 999_885_952],
  ['gemma-2-2b', 2_614_341_888],
  ['gemma-2-9b', 9_241_705_984],
  ['olmo-2-7b', 7_298_617_344],
  ['smollm2-1.7b', 1_711_376_384],
  ['smollm2-135m', 134_515_008],
  ['phi-4-mini', 3_836_021_760],
] as const)('%s has %d parameters', (name, count) => {
  const json = releasedDecoders[name];
  expect(countParameters(decoderShapes(readDecoder(json, json.model_type, name)))).toBe(count);
});
