// Towers as timm, open_clip and transformers publish them: configs that name an architecture and state little else, fields that would make
// another model, and what a sparse config leaves to its class.
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { interpret, randomParams, roleOf, trace } from '../../index.ts';
import { order } from '../../dsl/graph/walk.ts';
import { nameOf } from '../../dsl/ops/source.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { ConfigReader } from '../../models/configs/config-reader.ts';
import { countParameters } from '../../models/configs/param-shapes.ts';
import { readTower } from '../../models/configs/read.ts';
import { towerShapes } from '../../models/configs/towers.ts';
import { releasedDecoders } from '../../models/decoders/families/released.ts';
import { gemma2 } from '../../models/decoders/families/gemma.ts';
import { mapShapeOf, readAnyTower, type AnyTower } from '../../models/towers/any-tower.ts';
import { qwenTowerConfig } from '../../models/towers/qwen-vl-config.ts';
import { channelsLast } from '../../models/towers/tower.ts';
import { matchAnyTower } from '../../pipelines/answer/families/assembled.ts';
import { matchTower } from '../../pipelines/answer/families/tower-match.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { checkFloats, matches } from '../../runtime/checkpoint/match.ts';

const where = 'config.json';
const trained = { mean: [0.1, 0.2, 0.3], std: [0.4, 0.5, 0.6] };

/** Shapes of what a tower's map is made of, by name. */
function shapesRead(tower: AnyTower, side: number): ReadonlyMap<string, readonly number[]> {
  const graph = trace(randomParams(0), (t) => ({
    map: tower.map(t.params, t.input('pixels', 'b h w c', { b: 1, h: side, w: side, c: 3 })),
  }));
  const params = order(graph).filter((node) => roleOf(node) === 'param');
  return new Map(params.map((node) => [nameOf(node), node.type.axes.map(({ size }) => Number(size))]));
}

describe('a name of timm says all that its constructor is given', () => {
  // Parameters of timm 1.0.29's models without classifiers, and without norms behind a mean, which no map reads.
  test.each([
    ['vit_base_patch8_224', 224, 85_807_872],
    ['vit_large_patch16_224.mae', 224, 303_301_632],
    ['vit_huge_patch14_224.orig_in21k', 224, 630_764_800],
    ['deit_small_patch16_224', 224, 21_665_664],
    ['eva02_small_patch14_336', 336, 21_744_000 - 768],
    ['eva02_large_patch14_448', 448, 304_055_232 - 2048],
    ['eva02_large_patch14_clip_336.merged2b_s6b_b61k', 336, 303_645_632],
  ])('%s', (architecture, side, parameters) => {
    const tower = readAnyTower({ architecture, pretrained_cfg: trained }, where);
    expect(tower.side).toBe(side);
    // Of a small picture: what is read is the same.
    expect(countParameters(shapesRead(tower, 56))).toBe(parameters);
  });

  test.each([
    ['convnext_base', 87_566_464],
    ['convnext_large', 196_230_336],
    ['convnext_xxlarge', 843_398_016],
    ['vit_large_patch16_siglip_384', 316_283_904],
    ['vit_so400m_patch14_siglip_384', 428_225_600],
    ['vit_giantopt_patch16_siglip_384', 1_163_659_776],
  ])('%s', (name, parameters) => {
    const byTimm = readTower({ architecture: name }, where);
    expect(countParameters(towerShapes(byTimm))).toBe(parameters);
    expect(readTower({ model_cfg: { vision_cfg: { timm_model_name: name } } }, where)).toEqual(byTimm);
  });

  test('LayerNorms of ConvNeXts and GELUs of SigLIPs', () => {
    const config = (architecture: string, model_args = {}) =>
      readTower({ architecture, pretrained_cfg: trained, model_args }, where).config;
    expect(config('convnext_large')).toMatchObject({ eps: 1e-6, kernel: 7, activation: 'exact' });
    expect(config('convnext_xxlarge')).toMatchObject({ eps: 1e-5 });
    expect(config('convnext_base', { norm_eps: 1e-3, kernel_sizes: 5, act_layer: 'gelu_tanh' })).toMatchObject({
      eps: 1e-3,
      kernel: 5,
      activation: 'tanh',
    });
    for (const tanh of ['base_patch32_siglip_256', 'large_patch16_siglip_512', 'so400m_patch16_siglip_384'])
      expect(config(`vit_${tanh}`)).toMatchObject({ activation: 'tanh' });
    for (const exact of ['base_patch16_siglip_512', 'large_patch16_siglip_384', 'so400m_patch14_siglip_378'])
      expect(config(`vit_${exact}`)).toMatchObject({ activation: 'exact' });
  });

  test('a file says how its pictures are made', () => {
    const pixels = (json: object) => readAnyTower(json, where).pixels;
    const own = { side: 384, mean: trained.mean, std: trained.std, padding: trained.mean };
    expect(
      pixels({ architecture: 'vit_large_patch16_384', pretrained_cfg: { ...trained, input_size: [3, 384, 384] } }),
    ).toEqual(own);
    const vision_cfg = { width: 64, layers: 1, patch_size: 16, image_size: 384 };
    expect(pixels({ model_cfg: { vision_cfg }, preprocess_cfg: trained })).toEqual(own);
    expect(pixels({ architecture: 'convnext_base', pretrained_cfg: trained })).toMatchObject({
      mean: trained.mean,
      padding: trained.mean,
    });
    expect(pixels({ architecture: 'vit_large_patch16_384' })).toBeUndefined();
  });

  test('arguments that stand beside the name, as in MahmoodLab/UNI', () => {
    const uni = {
      architecture: 'vit_large_patch16_224',
      img_size: 32,
      init_values: 1,
      num_classes: 0,
      global_pool: 'avg',
    };
    const read = shapesRead(readAnyTower({ ...uni, pretrained_cfg: trained }, where), 32);
    expect(read.get('pos_embed')).toEqual([1, 5, 1024]);
    expect(read.get('blocks.23.ls1.gamma')).toEqual([1024]);
    expect(read.has('norm.weight')).toBe(true);
    expect(() => readAnyTower({ ...uni, reg_tokens: 4, pretrained_cfg: trained }, where)).toThrow(/reg_tokens/);
  });

  test("a plain transformer of timm's inside a model of open_clip's", () => {
    const open = (vision: object) =>
      readAnyTower({ model_cfg: { vision_cfg: { timm_model_name: 'vit_tiny_patch16_224', ...vision } } }, where);
    const stored = new Map(
      [...shapesRead(open({ timm_pool: '', timm_proj: 'linear' }), 32)].map(
        ([name, shape]) => [`visual.trunk.${name}`, shape] as const,
      ),
    );
    const head = ['visual.head.proj.weight', 'text.transformer.embeddings.weight', 'logit_scale'];
    const all = new Map([...stored, ...head.map((name) => [name, [8]] as const)]);
    const match = matchAnyTower(open({ timm_pool: '', timm_proj: 'linear' }), all, 32);
    expect(matches(match)).toBe(true);
    expect(match.wanted).toBe(150);
    expect(() => open({ timm_model_kwargs: { use_naflex: true } })).toThrow(/use_naflex/);
  });

  test("open_clip's pooling decides where the last norm of EVA-02 stands", () => {
    const normed = (timm_pool: string, timm_proj: string | null) =>
      shapesRead(
        readAnyTower(
          { model_cfg: { vision_cfg: { timm_model_name: 'eva02_tiny_patch14_224', timm_pool, timm_proj } } },
          where,
        ),
        28,
      ).has('visual.trunk.norm.weight');
    expect([normed('token', null), normed('avg', null), normed('token', 'linear')]).toEqual([true, false, false]);
  });
});

// As Eva of timm 1.0.29 is built.
test.each<[object, boolean]>([
  [{}, false],
  [{ global_pool: 'max' }, true],
  [{ use_fc_norm: false }, true],
  [{ use_post_transformer_norm: true }, true],
  [{ global_pool: 'token', use_fc_norm: true }, false],
])('EVA-02 with %j: a norm behind the last block is %j', (model_args, normed) => {
  const tower = readAnyTower({ architecture: 'eva02_tiny_patch14_224', model_args, pretrained_cfg: trained }, where);
  expect(shapesRead(tower, 28).has('visual.trunk.norm.weight')).toBe(normed);
});

test('LayerScale of open_clip is as wide as its tokens', () => {
  const vision_cfg = { width: 64, layers: 1, image_size: 32, ls_init_value: 0.1 };
  const tower = readAnyTower({ model_cfg: { vision_cfg } }, where);
  expect(shapesRead(tower, 32).get('visual.transformer.resblocks.0.ls_2.gamma')).toEqual([64]);
});

const golden = (name: string) => join(import.meta.dirname, '../golden/models', `${name}.safetensors`);

describe('published configs give the features of the original code', () => {
  const tiny = { depth: 3, num_heads: 3, embed_dim: 48, patch_size: 7, img_size: 42, ref_feat_shape: [4, 4] };
  const wide = { depth: 3, num_heads: 4, embed_dim: 64, patch_size: 8, img_size: 32 };
  test.each<[string, (config: Record<string, unknown>) => object]>([
    ['eva02-clip', () => ({ architecture: 'eva02_large_patch14_clip_336', model_args: tiny, pretrained_cfg: trained })],
    [
      'vit-augreg',
      () => ({ architecture: 'vit_large_patch16_224.orig_in21k', model_args: wide, pretrained_cfg: trained }),
    ],
    ['openclip-vit', (config) => ({ model_cfg: config, preprocess_cfg: trained })],
  ])('%s', async (name, published) => {
    const file = openCheckpoint(golden(name));
    try {
      const config = JSON.parse(file.metadata.get('config') ?? '{}') as Record<string, unknown>;
      const tower = readAnyTower(published(config), where);
      const [b = 0, c = 0, h = 0, w = 0] = file.shape('input.pixel_values') ?? [];
      const graph = trace(
        file,
        (t) => ({ map: tower.map(t.params, channelsLast(t.input('pixels', 'b c h w', { b, c, h, w }))) }),
        { unread: 'ignore' },
      );
      const { map } = await interpret(graph, file).run({
        pixels: Float32Array.from(file.tensor('input.pixel_values'), Number),
      });
      const output = ['patch_features', 'tokens'].find((each) => file.shape(`output.${each}`) !== undefined) ?? '';
      const expected = Array.from(file.tensor(`output.${output}`), Number);
      expect(map?.data).toHaveLength(expected.length);
      expected.forEach((value, i) => {
        expect(Math.abs(value - Number(map?.data[i]))).toBeLessThanOrEqual(1e-4 + 1e-4 * Math.abs(value));
      });
    } finally {
      file.close();
    }
  });
});

describe('what would be computed otherwise is refused', () => {
  const timm = (architecture: string, model_args: object) => () =>
    readAnyTower({ architecture, model_args, pretrained_cfg: trained }, where);
  test.each<[string, () => unknown, RegExp]>([
    ['another norm', timm('vit_base_patch16_224', { norm_layer: 'rmsnorm' }), /norm_layer[^]*rmsnorm/],
    ['an activation that is no GELU', timm('vit_base_patch16_224', { act_layer: 'relu' }), /activation 'relu'/],
    ['another MLP', timm('vit_base_patch16_224', { mlp_layer: 'SwiGLU' }), /mlp_layer/],
    ['a SigLIP with a class token', timm('vit_base_patch16_siglip_256', { class_token: true }), /class_token/],
    ['a SigLIP with LayerScale', timm('vit_base_patch16_siglip_256', { init_values: 0.1 }), /init_values/],
    ['ConvNeXt V2', timm('convnext_base', { use_grn: true }), /use_grn/],
    ['dilated ConvNeXts', timm('convnext_base', { output_stride: 16 }), /output_stride/],
    ['a ResNet', () => readAnyTower({ model_cfg: { vision_cfg: { layers: [3, 4, 6, 3] } } }, where), /layers/],
    ["CLIP under timm's names", timm('vit_large_patch14_clip_336.openai', {}), /not known/],
    ['a hybrid DPT', () => readAnyTower({ model_type: 'dpt', is_hybrid: true }, where), /is_hybrid/],
    [
      'a DPT on another backbone',
      () => readAnyTower({ model_type: 'dpt', backbone_config: { model_type: 'dinov2' } }, where),
      /backbone_config/,
    ],
    [
      'a Gemma 2 that sees what comes',
      () => gemma2({ ...releasedDecoders['gemma-2-2b'], use_bidirectional_attention: true }),
      /'use_bidirectional_attention'[^]* is true/,
    ],
  ])('%s', (_what, read, message) => expect(read).toThrow(message));
});

describe('what is claimed is looked at before it is looped over', () => {
  const types = ['aimv2', 'beit', 'deit', 'dinov2', 'dinov2_with_registers', 'dinov3_vit', 'dpt', 'ijepa', 'vit'];
  const hubs = [...types, 'vit_mae', 'intern_vit_6b', 'internvl_vision', 'sam', 'clip_vision_model', 'siglip'];
  test.each<[object, string]>([
    ...hubs.map((model_type): [object, string] => [{ model_type, num_hidden_layers: 1e9 }, 'num_hidden_layers']),
    [{ model_type: 'dinov3_vit', hidden_size: 1e9 }, 'hidden_size'],
    [{ model_type: 'dinov3_vit', num_register_tokens: 1e9 }, 'num_register_tokens'],
    [{ model_type: 'dinov3_vit', num_register_tokens: -1 }, 'num_register_tokens'],
    [{ model_type: 'dinov3_convnext', depths: [1e9, 1], hidden_sizes: [8, 8] }, 'depths'],
    [{ architecture: 'vit_tiny_patch16_224', pretrained_cfg: {}, model_args: { depth: 1e9 } }, 'depth'],
    [{ architecture: 'vit_tiny_patch16_224', pretrained_cfg: {}, model_args: { img_size: [32, 1e9] } }, 'img_size'],
    [{ architecture: 'eva02_tiny_patch14_224', pretrained_cfg: {}, model_args: { embed_dim: 1e9 } }, 'embed_dim'],
    [{ model_cfg: { vision_cfg: { layers: 1e9 } } }, 'layers'],
  ])('%j', (json, field) => {
    expect(() => readAnyTower(json, where)).toThrow(OpabiniaError);
    expect(() => readAnyTower(json, where)).toThrow(`'${field}'`);
  });

  test.each([
    [{ model_type: 'dinov3_vit', patch_size: 1 }, 8192, /8192 × 8192 patches/],
    [{ architecture: 'eva02_tiny_patch14_224', pretrained_cfg: {}, model_args: { patch_size: 1 } }, 8192, /patches/],
    [{ model_type: 'beit', patch_size: 1, use_relative_position_bias: true }, 512, /each two of 262145 places/],
    [
      { model_type: 'sam', image_size: 64, patch_size: 1, num_hidden_layers: 1, window_size: 5000 },
      64,
      /each two of 5000 places/,
    ],
  ])('%j of a picture of %i pixels', (json, side, message) => {
    const tower = readAnyTower(json, where);
    expect(() => mapShapeOf(tower, side)).toThrow(OpabiniaError);
    expect(() => mapShapeOf(tower, side)).toThrow(message);
  });

  test("and of Qwen-VL's towers", () => {
    const read = (json: object) => () => qwenTowerConfig(new ConfigReader(json, where), 'qwen2.5');
    expect(read({ depth: 1e9 })).toThrow(/'depth'[^]*at most 1000/);
    expect(read({ hidden_size: 1e9 })).toThrow(/'hidden_size'/);
  });
});

// transformers 5.18: DPTConfig, Dinov2WithRegistersConfig, BeitConfig.
describe('what is absent has the value of its class', () => {
  const sizes = { hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 16 };
  test.each<[string, object, number, string, readonly number[] | undefined]>([
    ['dpt', {}, 384, 'dpt.embeddings.position_embeddings', [1, 577, 8]],
    ['dinov2_with_registers', {}, 224, 'embeddings.patch_embeddings.projection.weight', [8, 3, 16, 16]],
    [
      'beit',
      {},
      224,
      'backbone.encoder.layer.0.attention.attention.relative_position_bias.relative_position_bias_table',
      undefined,
    ],
  ])('%s', (model_type, more, side, name, shape) => {
    const read = shapesRead(readAnyTower({ ...sizes, ...more, model_type }, where), side);
    expect(read.size).toBeGreaterThan(10);
    expect(read.get(name)).toEqual(shape);
  });
});

// Names of BeitForImageClassification and BeitForMaskedImageModeling, IJepaForImageClassification, DPTModel, ViTForImageClassification.
test.each([
  ['beit', ['classifier.weight', 'lm_head.weight', 'beit.pooler.layernorm.weight', 'beit.embeddings.mask_token']],
  ['ijepa', ['classifier.weight', 'ijepa.embeddings.mask_token']],
  ['dpt', ['pooler.dense.weight', 'dpt.layernorm.weight', 'dpt.layernorm.bias']],
  ['vit', ['classifier.bias', 'vit.pooler.dense.weight']],
])('%s: heads are left alone', (model_type, heads) => {
  const tower = readAnyTower({ hidden_size: 8, num_hidden_layers: 1, num_attention_heads: 2, model_type }, where);
  const stored = new Map([...shapesRead(tower, 32), ...heads.map((name) => [name, [8]] as const)]);
  expect(matches(matchAnyTower(tower, stored, 32))).toBe(true);
  expect(matches(matchAnyTower(tower, new Map([...stored, ['another.weight', [2]]]), 32))).toBe(false);
});

// CLIPConfig of transformers 5.18.
test.each([
  [{ vision_config_dict: { hidden_size: 48 } }, { width: 48, activation: 'quick', eps: 1e-5 }],
  [{ vision_config_dict: null }, { width: 96, activation: 'exact', eps: 1e-3 }],
])('of two vision configs of a CLIP, %j', (more, wanted) => {
  const vision_config = { hidden_size: 96, hidden_act: 'gelu', layer_norm_eps: 1e-3 };
  expect(readTower({ model_type: 'clip', vision_config, ...more }, where).config).toMatchObject(wanted);
});

test("the width of Qwen2.5-VL's tower", () => {
  expect(qwenTowerConfig(new ConfigReader({}, where), 'qwen2.5').width).toBe(3584);
});

// Buffers that transformers kept among the weights at a time: positions of CLIP, indices into BEiT's biases.
test.each([
  [{ model_type: 'clip_vision_model', hidden_size: 8, num_attention_heads: 2 }, 'vision_model.embeddings.position_ids'],
  [{ model_type: 'dinov2', hidden_size: 8, num_attention_heads: 2 }, 'embeddings.position_ids'],
  [
    { model_type: 'beit', hidden_size: 8, num_attention_heads: 2, use_relative_position_bias: true },
    'beit.encoder.layer.0.attention.attention.relative_position_bias.relative_position_index',
  ],
])('whole numbers that older versions stored beside the weights: %j', (json, buffer) => {
  const tower = readAnyTower(json, where);
  const stored = new Map([
    ...(tower.config === undefined ? shapesRead(tower, 32) : towerShapes(tower.config)),
    [buffer, [1, 50]] as const,
  ]);
  const match = matchAnyTower(tower, stored, 32);
  expect(matches(match)).toBe(true);
  expect(match.ignored.map(({ name }) => name)).toEqual([buffer]);
  const tensor = { name: buffer, dtype: 'I64', shape: [1, 50], start: 0, bytes: 400 } as const;
  checkFloats(match, [tensor], 'a checkpoint');
  expect(() => checkFloats(match, [{ ...tensor, name: 'pre_layrnorm.weight' }], 'a checkpoint')).toThrow(OpabiniaError);
});

test("open_clip's text tower beside a ConvNeXt is left alone", () => {
  const tower = readTower({ architecture: 'convnext_xxlarge', depths: [1, 1], dims: [4, 8] }, where);
  const text = ['transformer.resblocks.0.ln_1.weight', 'token_embedding.weight', 'positional_embedding', 'attn_mask'];
  const stored = new Map([...towerShapes(tower), ...text.map((name) => [name, [2]] as const)]);
  expect(matches(matchTower(tower, stored))).toBe(true);
  expect(matches(matchTower(tower, new Map([...stored, ['stages.9.gamma', [2]]])))).toBe(false);
});
