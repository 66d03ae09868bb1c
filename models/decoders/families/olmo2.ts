// OLMo 2 (arXiv 2501.00656): norms of what attention and MLP add, none of what they read, and of all queries and keys together.
import { ConfigReader } from '../../configs/config-reader.ts';
import type { LanguageModel } from '../decoder.ts';
import { apart, checkGate, decoderSizes } from '../llama.ts';

/**
 * An OLMo 2 model. From a `config.json` of model type `olmo2`. Throws `OpabiniaError`.
 * @example const model = olmo2(JSON.parse(text))
 */
export function olmo2(json: unknown, name = 'an OLMo 2 model'): LanguageModel {
  const config = checkGate(new ConfigReader(json, name));
  return apart({
    ...decoderSizes(config, 1e-5, 2048),
    attentionBias: config.flag('attention_bias', false),
    mlpBias: false,
    norms: 'behind',
    queryKeyNorm: 'width',
  });
}

/** What a sparse `text_config` leaves out. */
export const olmo2Defaults = {
  hidden_size: 4096,
  intermediate_size: 11008,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  vocab_size: 50304,
};
