// The four released Cambrian-1 models as data (arXiv 2406.16860; nyu-visionx on the hub), and the towers they name.
import { clipLarge336 } from '../towers/clip.ts';
import { convNextXxl } from '../towers/convnext.ts';
import { dinov2Giant } from '../towers/dinov2.ts';
import { llamaConfigs } from '../decoders/llama.ts';
import { phi3Configs } from '../decoders/phi3.ts';
import { siglipSo400m384 } from '../towers/siglip.ts';
import type { ConfigJson } from './fields.ts';
import type { TowerConfig } from './towers.ts';

/**
 * What all four have in common. The paper says DINOv2 ViT-L at 518 pixels; the released configs say giant at 378, and its 1,536
 * channels are in the sizes of the released files.
 */
const vision = {
  mm_projector_type: 'sva',
  image_aspect_ratio: 'pad',
  mm_vision_select_layer: -2,
  mm_vision_select_feature: 'patch',
  mm_use_im_start_end: false,
  mm_use_im_patch_token: false,
  mm_patch_merge_type: 'flat',
  mm_vision_tower_aux_list: [
    'siglip/CLIP-ViT-SO400M-14-384',
    'openai/clip-vit-large-patch14-336',
    'facebook/dinov2-giant-res378',
    'clip-convnext-XXL-multi-stage',
  ],
  mm_vision_tower_aux_token_len_list: [576, 576, 576, 9216],
  image_token_len: 576,
  query_num_list: [576],
  num_query_group: 1,
  connector_depth: 3,
  vision_hidden_size: 1024,
  connector_only: false,
  num_of_vision_sampler_layers: 10,
  start_of_vision_sampler_layers: 0,
  torch_dtype: 'float32',
} as const;

export type ReleasedName = 'cambrian-phi3-3b' | 'cambrian-8b' | 'cambrian-13b' | 'cambrian-34b';

/**
 * `config.json` of each. The paper gives the 34B a stride of 9, with which nine layers would not fit into sixty; its script says 7.
 * The schedule of phi3-3b is that of the 8B, whose layers and file size agree.
 */
export const releasedCambrian: Readonly<Record<ReleasedName, ConfigJson>> = {
  'cambrian-phi3-3b': {
    ...phi3Configs['Phi-3-mini-4k-instruct'],
    ...vision,
    model_type: 'cambrian_phi3',
    architectures: ['CambrianPhi3ForCausalLM'],
    stride_of_vision_sampler_layers: 3,
    image_position: 13,
    bos_token_id: 1,
    eos_token_id: 32007,
  },
  'cambrian-8b': {
    ...llamaConfigs['Meta-Llama-3-8B-Instruct'],
    ...vision,
    model_type: 'cambrian_llama',
    architectures: ['CambrianLlamaForCausalLM'],
    stride_of_vision_sampler_layers: 3,
    image_position: 91,
    bos_token_id: 128000,
    eos_token_id: 128001,
  },
  'cambrian-13b': {
    ...llamaConfigs['vicuna-13b-v1.5'],
    ...vision,
    model_type: 'cambrian_llama',
    architectures: ['CambrianLlamaForCausalLM'],
    stride_of_vision_sampler_layers: 4,
    image_position: 35,
    bos_token_id: 1,
    eos_token_id: 2,
    pad_token_id: 0,
  },
  'cambrian-34b': {
    ...llamaConfigs['Nous-Hermes-2-Yi-34B'],
    ...vision,
    model_type: 'cambrian_llama',
    architectures: ['CambrianLlamaForCausalLM'],
    num_of_vision_sampler_layers: 9,
    stride_of_vision_sampler_layers: 7,
    image_position: 87,
    bos_token_id: 1,
    eos_token_id: 7,
    pad_token_id: 0,
  },
};

/** The towers that they name, in order. */
export const releasedTowers: readonly TowerConfig[] = [
  { tower: 'siglip', config: siglipSo400m384 },
  { tower: 'clip', config: clipLarge336 },
  { tower: 'dinov2', config: dinov2Giant },
  { tower: 'convnext', config: convNextXxl },
];
