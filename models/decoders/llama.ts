// The Llama family: Llama 3 (Dubey et al. 2024, arXiv 2407.21783), Vicuna 1.5, Yi. Projections apart, no biases unless the config has them.
import { linear } from '../../dsl/index.ts';
import type { DecoderConfig, DecoderFamily, LanguageModel } from './decoder.ts';
import { ConfigReader } from '../configs/config-reader.ts';
import { readRope, type RopeDefaults } from './rope.ts';

const family: DecoderFamily = {
  fused: false,
  queryKeyValue: (p, x, { heads, keyValueHeads, headSize, attentionBias: bias }) => ({
    query: linear(p.at('q_proj'), x, 'o', { size: heads * headSize, bias }),
    key: linear(p.at('k_proj'), x, 'o', { size: keyValueHeads * headSize, bias }),
    value: linear(p.at('v_proj'), x, 'o', { size: keyValueHeads * headSize, bias }),
  }),
  gateUp: (p, x, { intermediate: size, mlpBias: bias }) => ({
    gate: linear(p.at('gate_proj'), x, 'o', { size, bias }),
    up: linear(p.at('up_proj'), x, 'o', { size, bias }),
  }),
};

/**
 * A Llama-like language model. From a `config.json` of model type `llama`, absent fields by the defaults of transformers. Throws `OpabiniaError`.
 * @example const model = llama(JSON.parse(text))
 */
export function llama(json: unknown, name = 'a Llama model'): LanguageModel {
  const config = checkGate(new ConfigReader(json, name));
  return apart({
    ...decoderSizes(config, 1e-6, 2048),
    attentionBias: config.flag('attention_bias', false),
    mlpBias: config.flag('mlp_bias', false),
  });
}

/** A model whose projections are stored apart, under Llama's names. */
export function apart(config: DecoderConfig): LanguageModel {
  return { family, config };
}

/** Throws `OpabiniaError` for a gate that is not silu. */
export function checkGate(config: ConfigReader): ConfigReader {
  const activation = config.text('hidden_act', 'silu');
  if (activation !== 'silu') throw config.wrong('hidden_act', `is '${activation}'`, "the family's gate is 'silu'");
  return config;
}

/** What families have otherwise than Llama, where the config says nothing. */
export interface SizeDefaults {
  readonly headSize?: number | undefined;
  readonly tied?: boolean | undefined;
  /** Where `rope_parameters` are nested by layers: those that `rope` is of. */
  readonly layers?: RopeDefaults['layers'];
}

/** The fields that all configs share. Throws `OpabiniaError` for heads that do not divide. */
export function decoderSizes(
  config: ConfigReader,
  eps: number,
  maxPositions: number,
  defaults: SizeDefaults = {},
): Omit<DecoderConfig, 'attentionBias' | 'mlpBias'> {
  const heads = config.count('num_attention_heads', 32);
  const hidden = config.count('hidden_size');
  if (!config.has('head_dim') && defaults.headSize === undefined && hidden % heads !== 0)
    throw config.wrong(
      'hidden_size',
      `is ${hidden}, which ${heads} heads do not divide`,
      "give 'head_dim' where heads have another width",
    );
  const keyValueHeads = config.count('num_key_value_heads', heads);
  if (heads % keyValueHeads !== 0)
    throw config.wrong(
      'num_key_value_heads',
      `is wrong: ${heads} query heads do not divide among ${keyValueHeads} key heads`,
      'each key head serves as many query heads as the others',
    );
  const headSize = config.count('head_dim', defaults.headSize ?? hidden / heads);
  return {
    hidden,
    heads,
    headSize,
    intermediate: config.count('intermediate_size'),
    layers: config.count('num_hidden_layers'),
    keyValueHeads,
    vocabulary: config.count('vocab_size'),
    eps: config.number('rms_norm_eps', eps),
    tied: config.flag('tie_word_embeddings', defaults.tied ?? false),
    maxPositions: config.count('max_position_embeddings', maxPositions),
    rope: readRope(config, headSize, { layers: defaults.layers }),
  };
}

/** Fields of the released `config.json`. */
export const llamaConfigs = {
  'Meta-Llama-3-8B-Instruct': {
    model_type: 'llama',
    hidden_size: 4096,
    intermediate_size: 14336,
    num_hidden_layers: 32,
    num_attention_heads: 32,
    num_key_value_heads: 8,
    vocab_size: 128256,
    rope_theta: 500000,
    rms_norm_eps: 1e-5,
    max_position_embeddings: 8192,
    tie_word_embeddings: false,
  },
  'vicuna-13b-v1.5': {
    model_type: 'llama',
    hidden_size: 5120,
    intermediate_size: 13824,
    num_hidden_layers: 40,
    num_attention_heads: 40,
    num_key_value_heads: 40,
    vocab_size: 32000,
    rope_theta: 10000,
    rms_norm_eps: 1e-5,
    max_position_embeddings: 4096,
    tie_word_embeddings: false,
  },
  'Nous-Hermes-2-Yi-34B': {
    model_type: 'llama',
    hidden_size: 7168,
    intermediate_size: 20480,
    num_hidden_layers: 60,
    num_attention_heads: 56,
    num_key_value_heads: 8,
    vocab_size: 64000,
    rope_theta: 5000000,
    rms_norm_eps: 1e-5,
    max_position_embeddings: 4096,
    tie_word_embeddings: false,
  },
} as const;
