// The small Cambrian that answers about drawn scenes: its `config.json`, in the layout of the released models.
import { encoderPair } from '../../pipelines/shapes/encoders/pair.ts';
import { shapesTokenizer, vocabulary } from './tokenizer.ts';

export const preset = 'S';

/** 4 × 4 queries over 8 × 8 and 16 × 16 tokens; SVA with D = 2 and G = 1, and again after the first two of four layers. */
export function modelConfig(): Readonly<Record<string, unknown>> {
  const pair = encoderPair(preset);
  const tokenizer = shapesTokenizer();
  return {
    architectures: ['CambrianLlamaForCausalLM'],
    model_type: 'cambrian_llama',
    hidden_act: 'silu',
    hidden_size: 64,
    intermediate_size: 160,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    num_key_value_heads: 4,
    vocab_size: vocabulary,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    max_position_embeddings: 512,
    tie_word_embeddings: true,
    torch_dtype: 'float16',
    bos_token_id: tokenizer.idOf('<|begin_of_text|>'),
    eos_token_id: tokenizer.idOf('<|eot_id|>'),
    mm_projector_type: 'sva',
    image_aspect_ratio: 'pad',
    mm_vision_select_layer: -1,
    mm_vision_select_feature: 'patch',
    mm_use_im_start_end: false,
    mm_use_im_patch_token: false,
    mm_vision_tower_aux_list: pair.map(({ name }) => name),
    mm_vision_tower_aux_token_len_list: pair.map(({ map: [rows, columns] }) => rows * columns),
    image_token_len: 16,
    query_num_list: [16],
    num_query_group: 1,
    connector_depth: 2,
    vision_hidden_size: 48,
    connector_only: false,
    num_of_vision_sampler_layers: 2,
    start_of_vision_sampler_layers: 0,
    stride_of_vision_sampler_layers: 1,
    // Begin, header and words of the system, end of turn, header of the user: one token each.
    image_position: 5,
  };
}
