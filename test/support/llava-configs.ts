// Two of llava-hf's checkpoints as their `config.json` describes them.
const clipLarge = {
  model_type: 'clip_vision_model',
  hidden_size: 1024,
  intermediate_size: 4096,
  num_hidden_layers: 24,
  num_attention_heads: 16,
  image_size: 336,
  patch_size: 14,
  projection_dim: 768,
};
const vicuna7b = { model_type: 'llama', max_position_embeddings: 4096, rms_norm_eps: 1e-5, vocab_size: 32064 };

/** Fields of the `config.json` of llava-hf's checkpoints, sparse as they are. */
export const llavaConfigs = {
  'llava-1.5-7b-hf': {
    model_type: 'llava',
    image_token_index: 32000,
    projector_hidden_act: 'gelu',
    vision_feature_layer: -2,
    vision_feature_select_strategy: 'default',
    text_config: vicuna7b,
    vision_config: clipLarge,
  },
  'llava-v1.6-vicuna-7b-hf': {
    model_type: 'llava_next',
    image_token_index: 32000,
    projector_hidden_act: 'gelu',
    vision_feature_layer: -2,
    vision_feature_select_strategy: 'default',
    text_config: vicuna7b,
    vision_config: clipLarge,
    image_grid_pinpoints: [
      [336, 672],
      [672, 336],
      [672, 672],
      [1008, 336],
      [336, 1008],
    ],
  },
} as const;
