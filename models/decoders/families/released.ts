// Released language models as data: the fields of their `config.json` that decide sizes.
import type { DecoderName } from '../families.ts';

interface Released {
  readonly model_type: DecoderName;
  readonly [field: string]: unknown;
}

const sizes = (hidden: number, inner: number, layers: number, heads: number, keys: number, vocabulary: number) => ({
  hidden_size: hidden,
  intermediate_size: inner,
  num_hidden_layers: layers,
  num_attention_heads: heads,
  num_key_value_heads: keys,
  vocab_size: vocabulary,
});

export const releasedDecoders = {
  'qwen2.5-0.5b': {
    model_type: 'qwen2',
    ...sizes(896, 4864, 24, 14, 2, 151_936),
    tie_word_embeddings: true,
    rope_theta: 1e6,
  },
  'qwen2.5-7b': { model_type: 'qwen2', ...sizes(3584, 18_944, 28, 28, 4, 152_064), rope_theta: 1e6 },
  'qwen3-0.6b': {
    model_type: 'qwen3',
    ...sizes(1024, 3072, 28, 16, 8, 151_936),
    head_dim: 128,
    tie_word_embeddings: true,
    rope_theta: 1e6,
  },
  'qwen3-8b': { model_type: 'qwen3', ...sizes(4096, 12_288, 36, 32, 8, 151_936), head_dim: 128, rope_theta: 1e6 },
  'mistral-7b': {
    model_type: 'mistral',
    ...sizes(4096, 14_336, 32, 32, 8, 32_768),
    sliding_window: null,
    rope_theta: 1e6,
    rms_norm_eps: 1e-5,
  },
  'gemma-3-1b': {
    model_type: 'gemma3_text',
    ...sizes(1152, 6912, 26, 4, 1, 262_144),
    head_dim: 256,
    sliding_window: 512,
  },
  'gemma-2-2b': { model_type: 'gemma2', ...sizes(2304, 9216, 26, 8, 4, 256_000), head_dim: 256 },
  'gemma-2-9b': { model_type: 'gemma2', ...sizes(3584, 14_336, 42, 16, 8, 256_000), head_dim: 256 },
  'olmo-2-7b': {
    model_type: 'olmo2',
    ...sizes(4096, 11_008, 32, 32, 32, 100_352),
    rope_theta: 5e5,
    rms_norm_eps: 1e-6,
  },
  'smollm2-1.7b': {
    model_type: 'llama',
    ...sizes(2048, 8192, 24, 32, 32, 49_152),
    tie_word_embeddings: true,
    rms_norm_eps: 1e-5,
  },
  'smollm2-135m': {
    model_type: 'llama',
    ...sizes(576, 1536, 30, 9, 3, 49_152),
    tie_word_embeddings: true,
    rms_norm_eps: 1e-5,
  },
  'phi-4-mini': {
    model_type: 'phi3',
    ...sizes(3072, 8192, 32, 24, 8, 200_064),
    tie_word_embeddings: true,
    partial_rotary_factor: 0.75,
  },
} as const satisfies Readonly<Record<string, Released>>;
