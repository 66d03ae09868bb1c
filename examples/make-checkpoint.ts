// A complete small Cambrian in the layout of Hugging Face: language model and connector in shards, four vision towers of their own,
// a tokenizer, all with weights from a seed. `npx node examples/make-checkpoint.ts DIR`; it answers nonsense, the same on every machine.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { OpabiniaError } from '../dsl/error.ts';
import { cambrianShapes } from '../models/configs/cambrian.ts';
import { readConfig, readTower } from '../models/configs/read.ts';
import { towerPixels, towerShapes } from '../models/configs/towers.ts';
import { conversationParts, promptIds } from '../models/sequence/conversation.ts';
import { imagePlaceholder } from '../models/sequence/collate.ts';
import { countParameters } from '../models/configs/param-shapes.ts';
import { writeSafetensors } from '../runtime/checkpoint/safetensors-write.ts';
import { Tokenizer } from '../runtime/text/tokenizer.ts';
import { makeDirectory, makeFromCommand, writeJson, writeShards, type MadeCheckpoint } from './made/directory.ts';
import { makeTokenizer, type MadeTokenizer } from './made/vocabulary.ts';
import { makeTensors } from './made/weights.ts';

/** Changes when the contents do, so that an older directory is made again. */
const version = 1;
/** 256 bytes, what merges the sentences give, and the control tokens. */
const vocabulary = 672;

/** Names tell Cambrian's loader the kind of a tower; the last part is its directory. */
const towers = [
  {
    name: 'siglip/ViT-made-14-98',
    dtype: 'BF16',
    config: {
      model_type: 'siglip_vision_model',
      hidden_size: 144,
      num_hidden_layers: 4,
      num_attention_heads: 2,
      intermediate_size: 538,
      image_size: 98,
      patch_size: 14,
      hidden_act: 'gelu',
    },
  },
  {
    name: 'made/clip-vit-made-patch14-84',
    dtype: 'F32',
    config: {
      model_type: 'clip_vision_model',
      hidden_size: 128,
      num_hidden_layers: 4,
      num_attention_heads: 4,
      intermediate_size: 512,
      image_size: 84,
      patch_size: 14,
    },
  },
  {
    name: 'made/dinov2-made-res98',
    dtype: 'F32',
    config: {
      model_type: 'dinov2',
      hidden_size: 128,
      num_hidden_layers: 4,
      num_attention_heads: 4,
      mlp_ratio: 4,
      image_size: 112,
      patch_size: 14,
      use_swiglu_ffn: true,
    },
  },
  {
    name: 'clip-convnext-made-res96-multi-stage',
    dtype: 'F32',
    config: { model_type: 'convnext', depths: [1, 1, 2, 1], dims: [32, 64, 128, 256] },
  },
] as const;

const language = {
  architectures: ['CambrianLlamaForCausalLM'],
  model_type: 'cambrian_llama',
  hidden_act: 'silu',
  hidden_size: 192,
  intermediate_size: 512,
  num_hidden_layers: 6,
  num_attention_heads: 6,
  num_key_value_heads: 2,
  vocab_size: vocabulary,
  rms_norm_eps: 1e-5,
  rope_theta: 500000,
  max_position_embeddings: 1024,
  tie_word_embeddings: false,
  torch_dtype: 'float32',
};

const connector = {
  mm_projector_type: 'sva',
  image_aspect_ratio: 'pad',
  mm_vision_select_layer: -2,
  mm_vision_select_feature: 'patch',
  mm_use_im_start_end: false,
  mm_use_im_patch_token: false,
  mm_vision_tower_aux_list: towers.map((tower) => tower.name),
  mm_vision_tower_aux_token_len_list: [36, 36, 36, 576],
  image_token_len: 36,
  query_num_list: [36],
  num_query_group: 1,
  connector_depth: 3,
  vision_hidden_size: 128,
  connector_only: false,
  num_of_vision_sampler_layers: 2,
  start_of_vision_sampler_layers: 0,
  stride_of_vision_sampler_layers: 3,
};

/** Writes the directory, or leaves it when it is there already from the same version and seed. Throws `OpabiniaError` when something else is there. */
export function makeCheckpoint(directory: string, seed = 1): MadeCheckpoint {
  return makeDirectory(directory, { what: 'cambrian', version, seed, write: writeAll });
}

function writeAll(directory: string, seed: number): number {
  const tokenizer = makeTokenizer(vocabulary);
  writeJson(directory, 'tokenizer.json', tokenizer.json);
  writeJson(directory, 'tokenizer_config.json', tokenizer.config);
  const [begin, end, turn] = ['<|begin_of_text|>', '<|end_of_text|>', '<|eot_id|>'].map(tokenizer.idOf);
  const config = {
    ...language,
    ...connector,
    bos_token_id: begin,
    eos_token_id: turn,
    image_position: imagePosition(tokenizer),
  };
  writeJson(directory, 'config.json', config);
  writeJson(directory, 'generation_config.json', {
    bos_token_id: begin,
    eos_token_id: [turn, end],
    do_sample: false,
    max_new_tokens: 64,
  });

  const read = readConfig(config, 'config.json');
  if (read.kind !== 'cambrian') throw new OpabiniaError('the config is not Cambrian’s', { op: 'makeCheckpoint' });
  const configs = towers.map((tower) => readTower(tower.config, tower.name));
  const shapes = cambrianShapes(read.cambrian, configs);
  writeShards(directory, makeTensors(shapes, seed));
  let parameters = countParameters(shapes);
  towers.forEach((tower, k) => {
    const own = configs[k];
    if (own === undefined) return;
    const place = join(directory, 'towers', tower.name.split('/').at(-1) ?? tower.name);
    mkdirSync(place, { recursive: true });
    writeJson(place, 'config.json', { ...tower.config, torch_dtype: tower.dtype === 'BF16' ? 'bfloat16' : 'float32' });
    const named = read.cambrian.towers[k];
    const side = named?.pixels ?? (own.tower === 'convnext' ? 96 : own.config.image);
    const { mean, std } = towerPixels[own.tower];
    writeJson(place, 'preprocessor_config.json', {
      do_resize: true,
      size: { shortest_edge: side },
      do_center_crop: true,
      crop_size: { height: side, width: side },
      do_rescale: true,
      rescale_factor: 1 / 255,
      do_normalize: true,
      image_mean: mean,
      image_std: std,
      resample: 3,
    });
    const towerTensors = towerShapes(own);
    writeSafetensors(join(place, 'model.safetensors'), makeTensors(towerTensors, seed + 1 + k, tower.dtype), {
      format: 'pt',
    });
    parameters += countParameters(towerTensors);
  });
  return parameters;
}

/** Where the image begins in a prompt with the template's own system words. */
function imagePosition(made: MadeTokenizer): number {
  const tokenizer = new Tokenizer(made.json, made.config, 'tokenizer.json');
  const parts = conversationParts('llama_3', [{ role: 'user', text: 'a', images: 1 }]);
  return promptIds('llama_3', parts, (chunk, options) => tokenizer.encode(chunk, options)).indexOf(imagePlaceholder);
}

makeFromCommand(import.meta.url, 'out/checkpoint', makeCheckpoint);
