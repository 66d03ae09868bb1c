// Configs of released whole models, sparse as the hub has them: their parameters are counted as published, or as transformers has them.
import { expect, test } from 'vitest';
import { countParameters, type Shapes } from '../../models/configs/param-shapes.ts';
import { readConfig } from '../../models/configs/read.ts';
import { llavaShapes } from '../../models/multimodal/llava/llava.ts';
import { qwenVlShapes } from '../../models/multimodal/qwen-vl-answer.ts';
import { sightedGemma3, sightedSmolVlm } from '../../models/multimodal/sighted-model.ts';

function shapesOf(json: object): Shapes {
  const config = readConfig(json, 'config.json');
  switch (config.kind) {
    case 'gemma3':
      return sightedGemma3(config.gemma3).shapes(new Map());
    case 'smolvlm':
      return sightedSmolVlm(config.smolvlm).shapes(new Map());
    case 'internvl':
      return config.internVl.shapes(new Map());
    case 'llava':
      return llavaShapes(config.llava);
    case 'qwen-vl':
      return qwenVlShapes(config.qwenVl);
    default:
      throw new Error(config.kind);
  }
}

const qwen05 = {
  model_type: 'qwen2',
  hidden_size: 896,
  intermediate_size: 4864,
  num_hidden_layers: 24,
  num_attention_heads: 14,
  num_key_value_heads: 2,
  max_position_embeddings: 32_768,
  rope_theta: 1e6,
};

test.each<[string, number, object]>([
  [
    'llava-hf/llava-onevision-qwen2-0.5b-ov-hf',
    893_675_552,
    {
      model_type: 'llava_onevision',
      image_token_index: 151_646,
      text_config: { ...qwen05, vocab_size: 152_000, tie_word_embeddings: true },
      vision_config: {
        hidden_size: 1152,
        image_size: 384,
        intermediate_size: 4304,
        model_type: 'siglip_vision_model',
        num_attention_heads: 16,
        num_hidden_layers: 26,
        patch_size: 14,
        vision_use_head: false,
      },
    },
  ],
  [
    'OpenGVLab/InternVL3-1B-hf',
    938_193_024,
    {
      model_type: 'internvl',
      tie_word_embeddings: false,
      text_config: { ...qwen05, vocab_size: 151_674 },
      vision_config: { attention_bias: true },
    },
  ],
  [
    'google/gemma-3-4b-it',
    4_300_079_472,
    {
      model_type: 'gemma3',
      image_token_index: 262_144,
      mm_tokens_per_image: 256,
      text_config: {
        hidden_size: 2560,
        intermediate_size: 10_240,
        model_type: 'gemma3_text',
        num_hidden_layers: 34,
        rope_scaling: { factor: 8, rope_type: 'linear' },
        sliding_window: 1024,
      },
      vision_config: {
        hidden_size: 1152,
        image_size: 896,
        intermediate_size: 4304,
        model_type: 'siglip_vision_model',
        num_attention_heads: 16,
        num_hidden_layers: 27,
        patch_size: 14,
        vision_use_head: false,
      },
    },
  ],
  [
    'Qwen/Qwen2.5-VL-3B-Instruct, the language model at the top',
    3_754_622_976,
    {
      model_type: 'qwen2_5_vl',
      hidden_size: 2048,
      intermediate_size: 11_008,
      num_hidden_layers: 36,
      num_attention_heads: 16,
      num_key_value_heads: 2,
      max_position_embeddings: 128_000,
      rope_theta: 1e6,
      rope_scaling: { type: 'mrope', mrope_section: [16, 24, 24] },
      tie_word_embeddings: true,
      vocab_size: 151_936,
      image_token_id: 151_655,
      vision_config: {
        depth: 32,
        hidden_act: 'silu',
        hidden_size: 1280,
        intermediate_size: 3420,
        num_heads: 16,
        in_chans: 3,
        out_hidden_size: 2048,
        patch_size: 14,
        spatial_merge_size: 2,
        spatial_patch_size: 14,
        window_size: 112,
        fullatt_block_indexes: [7, 15, 23, 31],
        tokens_per_second: 2,
        temporal_patch_size: 2,
      },
    },
  ],
])('%s', (_name, parameters, json) => {
  expect(countParameters(shapesOf(json))).toBe(parameters);
});
