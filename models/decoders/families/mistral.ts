// Mistral (Jiang et al. 2023, arXiv 2310.06825): a Llama whose layers all see a window of the past, where the config has one.
import { ConfigReader } from '../../configs/config-reader.ts';
import type { LanguageModel } from '../decoder.ts';
import { apart, checkGate, decoderSizes } from '../llama.ts';

/**
 * A Mistral model. From a `config.json` of model type `mistral`: `sliding_window` null is not a window, absent it is 4096. Throws `OpabiniaError`.
 * @example const model = mistral(JSON.parse(text))
 */
export function mistral(json: unknown, name = 'a Mistral model'): LanguageModel {
  const config = checkGate(new ConfigReader(json, name));
  const stated = typeof json === 'object' && json !== null && 'sliding_window' in json;
  const window = config.has('sliding_window') ? config.count('sliding_window') : stated ? undefined : 4096;
  return apart({ ...decoderSizes(config, 1e-6, 131_072), attentionBias: false, mlpBias: false, window });
}

/** What a sparse `text_config` leaves out. */
export const mistralDefaults = {
  hidden_size: 4096,
  intermediate_size: 14336,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  num_key_value_heads: 8,
  vocab_size: 32000,
};
