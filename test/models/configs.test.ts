// config.json of every known kind: the released models' counts to the last parameter, defaults, and refusals that name the field.
import { describe, expect, test } from 'vitest';
import { OpabiniaError } from '../../dsl/error.ts';
import { cambrianShapes, namedTower, type CambrianConfig } from '../../models/configs/cambrian.ts';
import { decoderShapes } from '../../models/configs/decoder-shapes.ts';
import { modelTypes, readConfig, readTower } from '../../models/configs/read.ts';
import { connect } from '../../models/connectors/connector.ts';
import { sva } from '../../models/connectors/regions/sva.ts';
import { factsOf } from '../../models/connectors/traced.ts';
import { tokenCount } from '../../models/connectors/visual-tokens.ts';
import { releasedCambrian, releasedTowers, type ReleasedName } from '../../models/configs/released.ts';
import { towerShapes } from '../../models/configs/towers.ts';
import { llamaConfigs } from '../../models/decoders/llama.ts';
import { countParameters } from '../../models/configs/param-shapes.ts';
import { phi3Configs } from '../../models/decoders/phi3.ts';

const where = 'some/config.json';
const eight = releasedCambrian['cambrian-8b'];

function cambrian(json: unknown): CambrianConfig {
  const config = readConfig(json, where);
  if (config.kind !== 'cambrian') throw new Error(config.kind);
  return config.cambrian;
}

function refusal(read: () => unknown): string {
  try {
    read();
  } catch (error) {
    if (error instanceof OpabiniaError) return error.message;
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('released models', () => {
  // Tensors and parameters as the hub counts them (specs of Cambrian-1, sections 4 and 5).
  test.each<[ReleasedName, number, number, number]>([
    ['cambrian-phi3-3b', 680, 273_397_760, 3_821_079_552],
    ['cambrian-8b', 776, 302_760_960, 8_030_261_248],
    ['cambrian-13b', 848, 334_221_312, 13_015_864_320],
    ['cambrian-34b', 993, 375_085_056, 34_388_917_248],
  ])('%s: %i tensors, %i parameters of connector and SVA', (name, tensors, connector, language) => {
    const config = cambrian(releasedCambrian[name]);
    const shapes = cambrianShapes(config, releasedTowers);
    expect(shapes.size).toBe(tensors);
    expect(countParameters(shapes)).toBe(connector + language);
    expect(countParameters(decoderShapes(config.language))).toBe(language);
    expect(shapes.get('model.vision_sampler_0.layers.0.pos_embed_3')).toEqual([16, 1024]);
    expect(shapes.has('model.vision_sampler_0.layers.0.pos_embed_2')).toBe(false);
  });

  test.each([
    ['cambrian-8b', 4096],
    ['cambrian-13b', 5120],
  ] as const)("%s: in front of the language model, parameters and layout of the zoo's SVA", (name, width) => {
    const config = cambrian(releasedCambrian[name]);
    const preset = sva.presets[name];
    if (preset === undefined) throw new Error('the zoo has no such setting');
    const { shapes, layout } = factsOf(connect(sva, preset.config), preset.maps, width);
    const language = decoderShapes(config.language);
    const own = [...cambrianShapes(config, releasedTowers)].filter(
      ([path]) => !language.has(path) && !path.includes('vision_sampler_layers'),
    );
    expect(new Map([...shapes].map(([path, shape]) => [`model.${path}`, shape]))).toEqual(new Map(own));
    // 24 rows of 24, each ended by a newline.
    expect(tokenCount(layout)).toBe(600);
    expect(sva.inject?.after(preset.config, config.language.config.layers)).toEqual(
      Array.from({ length: config.schedule?.count ?? 0 }, (_, j) => j * (config.schedule?.stride ?? 0)),
    );
  });

  test('SVA layers stand where the specs have them', () => {
    expect(cambrian(releasedCambrian['cambrian-34b']).schedule).toEqual({ start: 0, stride: 7, count: 9 });
    expect(cambrian(releasedCambrian['cambrian-13b']).schedule).toEqual({ start: 0, stride: 4, count: 10 });
    expect(cambrian({ ...eight, connector_only: true }).schedule).toBeUndefined();
  });

  test('towers: sides in pixels and tokens, and what they are made of', () => {
    const { towers } = cambrian(eight);
    expect(towers.map(({ kind, side, pixels, allStages }) => [kind, side, pixels, allStages])).toEqual([
      ['siglip', 24, undefined, false],
      ['clip', 24, undefined, false],
      ['dinov2', 24, 378, false],
      ['convnext', 96, 1024, true],
    ]);
    expect(towers[2]?.repos).toEqual(['facebook/dinov2-giant']);
    expect(releasedTowers.map((tower) => countParameters(towerShapes(tower)))).toEqual([
      428_225_600, 303_507_456, 1_136_480_768, 843_398_016,
    ]);
  });

  test('Phi-3 of Cambrian sees one key more than that of transformers', () => {
    expect(cambrian(releasedCambrian['cambrian-phi3-3b']).language.config.window).toBe(2048);
    const own = readConfig(phi3Configs['Phi-3-mini-4k-instruct'], where);
    expect(own.kind === 'language' && own.language.config.window).toBe(2047);
  });
});

describe('other configs', () => {
  test('dtype under either name', () => {
    const llama = llamaConfigs['vicuna-13b-v1.5'];
    expect(readConfig({ ...llama, dtype: 'bfloat16' }, where).dtype).toBe('bfloat16');
    expect(readConfig({ ...llama, torch_dtype: 'torch.float16' }, where).dtype).toBe('float16');
    expect(readConfig(llama, where).dtype).toBeUndefined();
  });

  test('unknown fields stay, null is absent', () => {
    const config = readConfig(
      { ...llamaConfigs['vicuna-13b-v1.5'], rope_scaling: null, num_key_value_heads: null, own_field: [1] },
      where,
    );
    expect(config.json['own_field']).toEqual([1]);
    expect(config.kind === 'language' && config.language.config.keyValueHeads).toBe(40);
  });

  // What `transformers` 5.18 makes of each (its rotary embedding's cosines and sines were compared).
  describe('rotations where layouts of two versions stand side by side', () => {
    const sizes = {
      hidden_size: 64,
      intermediate_size: 128,
      num_hidden_layers: 6,
      num_attention_heads: 4,
      vocab_size: 100,
      head_dim: 16,
    };
    const none = { kind: 'none' };
    const linear = (factor: number) => ({ kind: 'linear', factor });
    const flat = { rope_type: 'default', rope_theta: 3e5 };
    const nested = {
      full_attention: { rope_type: 'default', rope_theta: 2e6 },
      sliding_attention: { rope_type: 'default', rope_theta: 2e4 },
    };
    const older = { rope_type: 'linear', factor: 4 };
    test.each<[string, object, object, object?]>([
      [
        'rope_scaling wins, and the base beside it',
        { model_type: 'llama', rope_theta: 5e5, rope_scaling: older, rope_parameters: flat },
        { theta: 5e5, scaling: linear(4) },
      ],
      [
        'what rope_parameters had is gone with it',
        { model_type: 'llama', rope_scaling: older, rope_parameters: flat },
        { theta: 1e4, scaling: linear(4) },
      ],
      [
        'an empty rope_scaling is none',
        { model_type: 'llama', rope_theta: 5e5, rope_scaling: {}, rope_parameters: { ...older, rope_theta: 2e5 } },
        { theta: 2e5, scaling: linear(4) },
      ],
      [
        'an empty rope_parameters is none',
        { model_type: 'llama', rope_theta: 5e5, rope_scaling: older, rope_parameters: {} },
        { theta: 5e5, scaling: linear(4) },
      ],
      [
        'the base beside rope_parameters that have none',
        { model_type: 'llama', rope_theta: 7e5, rope_parameters: { rope_type: 'default' } },
        { theta: 7e5, scaling: none },
      ],
      [
        'of Gemma 3, rope_scaling stretches the full layers',
        { model_type: 'gemma3_text', rope_theta: 3e6, rope_scaling: older, rope_parameters: nested },
        { theta: 2e6, scaling: linear(4) },
        { theta: 2e4, scaling: none },
      ],
      [
        'of Gemma 3, one kind of layers alone',
        { model_type: 'gemma3_text', rope_parameters: { sliding_attention: nested.sliding_attention } },
        { theta: 1e6, scaling: none },
        { theta: 2e4, scaling: none },
      ],
      [
        'of Gemma 3, the other kind',
        {
          model_type: 'gemma3_text',
          rope_local_base_freq: 3e4,
          rope_parameters: { full_attention: nested.full_attention },
        },
        { theta: 2e6, scaling: none },
        { theta: 3e4, scaling: none },
      ],
    ])('%s', (_name, json, rope, slidingRope) => {
      const read = readConfig({ ...sizes, ...json }, 'config.json');
      if (read.kind !== 'language') throw new Error(read.kind);
      expect(read.language.config).toMatchObject({ rope, ...(slidingRope === undefined ? {} : { slidingRope }) });
    });
  });

  test('a whole CLIP, sparse as on the hub', () => {
    expect(
      readTower(
        {
          model_type: 'clip',
          vision_config: {
            hidden_size: 1024,
            num_hidden_layers: 24,
            num_attention_heads: 16,
            intermediate_size: 4096,
            image_size: 336,
            patch_size: 14,
          },
        },
        where,
      ),
    ).toMatchObject({ tower: 'clip', config: { width: 1024, activation: 'quick', eps: 1e-5 } });
  });

  test('towers that name an architecture of timm', () => {
    expect(
      readTower(
        { model_cfg: { embed_dim: 1024, vision_cfg: { timm_model_name: 'convnext_xxlarge', image_size: 256 } } },
        where,
      ),
    ).toMatchObject({ tower: 'convnext', config: { widths: [384, 768, 1536, 3072] } });
    expect(readTower({ architecture: 'vit_so400m_patch14_siglip_384.webli' }, where)).toMatchObject({
      tower: 'siglip',
      config: { hidden: 4304 },
    });
    expect(refusal(() => readTower({ architecture: 'resnet50' }, where))).toContain('resnet50');
  });

  test('LLaVA-NeXT: sparse parts, canvases', () => {
    const config = readConfig(
      {
        model_type: 'llava_next',
        text_config: { model_type: 'llama', vocab_size: 32064 },
        vision_config: { model_type: 'clip_vision_model' },
        image_token_index: 32000,
        image_grid_pinpoints: [[336, 672]],
      },
      where,
    );
    expect(config.kind === 'llava' && config.llava).toMatchObject({
      type: 'llava_next',
      layers: [-2],
      dropClass: true,
      imageToken: 32000,
      canvases: [[336, 672]],
      vision: { width: 1024, image: 336 },
      language: { config: { hidden: 4096, vocabulary: 32064 } },
    });
  });

  test('LLaVA-OneVision: what is absent is that of its class', () => {
    const json = {
      model_type: 'llava_onevision',
      text_config: {
        vocab_size: 152_000,
        hidden_size: 896,
        num_attention_heads: 14,
        num_key_value_heads: 2,
        tie_word_embeddings: true,
      },
      vision_config: { hidden_size: 1152, num_attention_heads: 16, image_size: 384, patch_size: 14 },
    };
    const config = readConfig(json, where);
    expect(config.kind === 'llava' && config.llava).toMatchObject({
      type: 'llava_onevision',
      tower: 'siglip',
      layers: [-1],
      dropClass: true,
      imageToken: 151_646,
      limit: 9,
      vision: { width: 1152, activation: 'tanh' },
      language: { config: { hidden: 896, attentionBias: true, tied: true } },
    });
    expect(config.kind === 'llava' && [config.llava.canvases.length, config.llava.canvases.at(7)]).toEqual([
      36,
      [768, 768],
    ]);
    const other = readConfig({ ...json, vision_aspect_ratio: 'anyres_max_4' }, where);
    expect(other.kind === 'llava' && other.llava.limit).toBe(4);
    expect(refusal(() => readConfig({ ...json, vision_aspect_ratio: 'anyres' }, where))).toMatch(
      /vision_aspect_ratio 'anyres'[^]*anyres_max_N/,
    );
  });

  test('names of towers', () => {
    expect(namedTower('clip-convnext-XXL', 24, where)).toMatchObject({
      kind: 'convnext',
      allStages: false,
      pixels: 1024,
    });
    expect(namedTower('facebook/dinov2-giant-res378-interp576', 24, where)).toMatchObject({
      kind: 'dinov2',
      pixels: 378,
      repos: ['facebook/dinov2-giant'],
    });
    expect(refusal(() => namedTower('some/resnet', 24, where))).toContain("'some/resnet', which is not known");
  });
});

describe('refusals', () => {
  test('an unknown model type, with all that are known', () => {
    const message = refusal(() => readConfig({ model_type: 'gpt2' }, where));
    expect(message).toContain(`${where} has the unknown model_type 'gpt2'`);
    for (const type of modelTypes) expect(message).toContain(type);
    expect(refusal(() => readConfig({ model_type: 'constructor' }, where))).toContain(
      "unknown model_type 'constructor'",
    );
  });

  test('no model type, and no object', () => {
    expect(refusal(() => readConfig({ hidden_size: 3 }, where))).toContain('has no model_type');
    expect(refusal(() => readConfig([1], where))).toContain('is not a JSON object');
  });

  test.each([
    [{ hidden_size: 1e9 }, "'hidden_size'"],
    [{ num_hidden_layers: 0 }, "'num_hidden_layers'"],
    [{ vocab_size: 2 ** 23 }, "'vocab_size'"],
    [{ rms_norm_eps: 0 }, "'rms_norm_eps'"],
    [{ num_attention_heads: 2.5 }, "'num_attention_heads'"],
    [{ vision_hidden_size: 1000 }, 'not a multiple of the 16 heads'],
    [{ image_token_len: 575 }, 'not a square grid'],
    [{ mm_vision_tower_aux_token_len_list: [576, 576, 576, 9025] }, 'do not divide'],
    [{ mm_vision_tower_aux_token_len_list: [576] }, '4 towers are named and 1'],
    [{ num_query_group: 2 }, 'num_query_group'],
    [{ stride_of_vision_sampler_layers: 9 }, 'comes after layer 81'],
    [{ mm_projector_type: 'linear' }, "mm_projector_type is 'linear'"],
    [{ num_key_value_heads: 5 }, 'do not divide among 5'],
    [{ start_of_vision_sampler_layers: null }, 'not after which of its layers'],
  ])('%j', (fields, said) => {
    const message = refusal(() => readConfig({ ...eight, ...fields }, where));
    expect(message).toContain(said);
  });

  test('a missing field, with the nearest that are there', () => {
    const json: Record<string, unknown> = { ...eight, connector_dept: 3 };
    delete json['connector_depth'];
    expect(refusal(() => readConfig(json, where))).toMatch(
      /'connector_depth' is missing[\s\S]*nearest fields are connector_dept,/,
    );
  });
});
