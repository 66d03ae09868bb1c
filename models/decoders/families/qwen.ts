// Qwen2 and 2.5 (arXiv 2407.10671, 2412.15115): a Llama with biases of queries, keys and values. Qwen3 (arXiv 2505.09388): norms of
// each head's queries and keys in their place.
import { ConfigReader } from '../../configs/config-reader.ts';
import type { DecoderConfig, LanguageModel } from '../decoder.ts';
import { apart, checkGate, decoderSizes } from '../llama.ts';
import { slidingLayers, windowOf } from './windows.ts';

/**
 * A Qwen2 or Qwen2.5 model. From a `config.json` of model type `qwen2`; windows hold only with `use_sliding_window`, from layer
 * `max_window_layers` on. Throws `OpabiniaError`.
 * @example const model = qwen2(JSON.parse(text))
 */
export function qwen2(json: unknown, name = 'a Qwen2 model'): LanguageModel {
  const config = checkGate(new ConfigReader(json, name));
  return apart({ ...sizesOf(config), attentionBias: true, outputBias: false, mlpBias: false });
}

/**
 * A Qwen3 model. From a `config.json` of model type `qwen3`; heads are as wide as `head_dim` says, 128 where it does not. Throws `OpabiniaError`.
 * @example const model = qwen3(JSON.parse(text))
 */
export function qwen3(json: unknown, name = 'a Qwen3 model'): LanguageModel {
  const config = checkGate(new ConfigReader(json, name));
  return apart({
    ...sizesOf(config, 128),
    attentionBias: config.flag('attention_bias', false),
    mlpBias: false,
    queryKeyNorm: 'head',
  });
}

function sizesOf(config: ConfigReader, headSize?: number): Omit<DecoderConfig, 'attentionBias' | 'mlpBias'> {
  const sizes = decoderSizes(config, 1e-6, 32_768, { headSize });
  const from = config.number('max_window_layers', 28);
  const sliding = slidingLayers(config, sizes.layers, (layer) => layer >= from);
  const window = config.flag('use_sliding_window', false) ? config.count('sliding_window', 4096) : undefined;
  return { ...sizes, ...windowOf(sliding, window) };
}

/** What a sparse `text_config` leaves out. */
export const qwenDefaults = {
  hidden_size: 4096,
  intermediate_size: 22016,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 32,
  vocab_size: 151_936,
};
