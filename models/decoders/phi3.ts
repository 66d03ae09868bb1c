// Phi-3 (Abdin et al. 2024, arXiv 2404.14219) and Phi-4-mini (arXiv 2503.01743): a Llama whose input projections are stored fused, with a
// sliding window, long-RoPE, and rotation of a part of each head.
import { linear, slice } from '../../dsl/index.ts';
import type { DecoderFamily, LanguageModel } from './decoder.ts';
import { ConfigReader } from '../configs/config-reader.ts';
import { decoderSizes } from './llama.ts';
import { requireOptions } from '../../dsl/graph/required.ts';

const family: DecoderFamily = {
  fused: true,
  // Rows of the fused weight: queries, keys, values.
  queryKeyValue: (p, x, { heads, keyValueHeads, headSize, attentionBias: bias }) => {
    const [wide, narrow] = [heads * headSize, keyValueHeads * headSize];
    const all = linear(p.at('qkv_proj'), x, 'o', { size: wide + 2 * narrow, bias });
    return {
      query: slice(all, 'o', { size: wide }),
      key: slice(all, 'o', { start: wide, size: narrow }),
      value: slice(all, 'o', { start: wide + narrow, size: narrow }),
    };
  },
  gateUp: (p, x, { intermediate: size, mlpBias: bias }) => {
    const both = linear(p.at('gate_up_proj'), x, 'o', { size: 2 * size, bias });
    return { gate: slice(both, 'o', { size }), up: slice(both, 'o', { start: size, size }) };
  },
};

export interface Phi3Options {
  /**
   * Keys that a query sees under `sliding_window: W`, itself included: W in transformers since 4.57 and in litgpt, W + 1 in the older
   * mask that Cambrian's copy of the model uses.
   */
  readonly window?: 'exact' | 'older';
  readonly name?: string;
}

/**
 * A Phi-3 language model. From a `config.json` of model type `phi3`, absent fields by the defaults of transformers. Throws `OpabiniaError`.
 * @example const model = phi3(JSON.parse(text))
 */
export function phi3(json: unknown, options: Phi3Options = {}): LanguageModel {
  requireOptions('phi3', options, "{ name: 'a Phi-3' }");
  const config = new ConfigReader(json, options.name ?? 'a Phi-3 model');
  const activation = config.text('hidden_act', 'silu');
  if (activation !== 'silu') throw config.wrong('hidden_act', `is '${activation}'`, "the family's gate is 'silu'");
  const window = config.has('sliding_window')
    ? config.count('sliding_window') + (options.window === 'older' ? 1 : 0)
    : undefined;
  return {
    family,
    config: { ...decoderSizes(config, 1e-5, 4096), attentionBias: false, mlpBias: false, window },
  };
}

/** What a sparse `text_config` leaves out. */
export const phi3Defaults = {
  hidden_size: 3072,
  intermediate_size: 8192,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  vocab_size: 32064,
};

/** Fields of the released `config.json`. */
export const phi3Configs = {
  'Phi-3-mini-4k-instruct': {
    model_type: 'phi3',
    hidden_size: 3072,
    intermediate_size: 8192,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 32,
    vocab_size: 32064,
    rope_theta: 10000,
    rms_norm_eps: 1e-5,
    max_position_embeddings: 4096,
    original_max_position_embeddings: 4096,
    sliding_window: 2047,
    tie_word_embeddings: false,
  },
} as const;
