// Gemma 2 (arXiv 2408.00118) and Gemma 3 (arXiv 2503.19786): scaled embeddings, norms on both sides of attention and MLP with factors
// 1 + weight, windows in some layers; Gemma 2 caps scores and logits, Gemma 3 norms queries and keys.
import { ConfigReader } from '../../configs/config-reader.ts';
import type { DecoderConfig, LanguageModel } from '../decoder.ts';
import { apart, decoderSizes } from '../llama.ts';
import { readRope } from '../rope.ts';
import { slidingLayers } from './windows.ts';

/**
 * A Gemma 2 model. From a `config.json` of model type `gemma2`; layers slide by turns, the first one does. Throws `OpabiniaError`.
 * @example const model = gemma2(JSON.parse(text))
 */
export function gemma2(json: unknown, name = 'a Gemma 2 model'): LanguageModel {
  const config = new ConfigReader(json, name);
  const sizes = gemmaSizes(config, json, 8192);
  const caps = {
    scoreCap: capOf(config, json, 'attn_logit_softcapping', 50),
    logitCap: capOf(config, json, 'final_logit_softcapping', 30),
  };
  const sliding = slidingLayers(config, sizes.layers, (layer) => layer % 2 === 0);
  return apart({ ...sizes, ...caps, sliding });
}

/**
 * The language model of Gemma 3. From a `config.json` of model type `gemma3_text`; every sixth layer is full and turns by `rope_theta` as
 * `rope_scaling` says, the others by `rope_local_base_freq`. Throws `OpabiniaError`.
 * @example const model = gemma3(JSON.parse(text))
 */
export function gemma3(json: unknown, name = 'a Gemma 3 model'): LanguageModel {
  const config = new ConfigReader(json, name);
  const sizes = gemmaSizes(config, json, 131_072);
  const logitCap = capOf(config, json, 'final_logit_softcapping');
  const pattern = config.count('sliding_window_pattern', 6);
  const nested = config.inner('rope_parameters')?.has('sliding_attention') === true;
  const local = config.number('rope_local_base_freq', 10_000);
  return apart({
    ...sizes,
    // `attn_logit_softcapping` is a field of its config that its code does not read.
    logitCap,
    queryKeyNorm: 'head',
    rope: readRope(config, sizes.headSize, { theta: 1e6, layers: 'full_attention' }),
    slidingRope: nested
      ? readRope(config, sizes.headSize, { theta: local, layers: 'sliding_attention' })
      : { theta: local, rotated: sizes.headSize, scaling: { kind: 'none' } },
    sliding: slidingLayers(config, sizes.layers, (layer) => (layer + 1) % pattern !== 0),
  });
}

function gemmaSizes(config: ConfigReader, json: unknown, maxPositions: number): DecoderConfig {
  if (config.flag('use_bidirectional_attention', false))
    throw config.wrong('use_bidirectional_attention', 'is true', 'that makes it a model of embeddings, not of answers');
  const activation = config.text('hidden_activation', config.text('hidden_act', 'gelu_pytorch_tanh'));
  if (activation !== 'gelu_pytorch_tanh')
    throw config.wrong('hidden_activation', `is '${activation}'`, "the family's gate is 'gelu_pytorch_tanh'");
  const sizes = decoderSizes(config, 1e-6, maxPositions, { headSize: 256, tied: true, layers: 'full_attention' });
  return {
    ...sizes,
    attentionBias: config.flag('attention_bias', false),
    mlpBias: false,
    activation: 'gelu-tanh',
    norms: 'both',
    unitOffset: true,
    embeddingScale: Math.sqrt(sizes.hidden),
    scoreScale: 1 / Math.sqrt(config.positive('query_pre_attn_scalar', 256)),
    window:
      config.has('sliding_window') || !present(json, 'sliding_window')
        ? config.count('sliding_window', 4096)
        : undefined,
  };
}

/** A cap that is null is none; one that is absent has the family's default. */
function capOf(config: ConfigReader, json: unknown, key: string, otherwise?: number): number | undefined {
  if (!config.has(key)) return present(json, key) ? undefined : otherwise;
  const cap = config.number(key);
  if (cap > 0) return cap;
  throw config.wrong(key, `is ${cap}`, 'a cap is above 0');
}

const present = (json: unknown, key: string): boolean => typeof json === 'object' && json !== null && key in json;

const common = { num_hidden_layers: 26, num_attention_heads: 8, num_key_value_heads: 4, head_dim: 256 };
/** What a sparse `text_config` leaves out. */
export const gemma2Defaults = { ...common, hidden_size: 2304, intermediate_size: 9216, vocab_size: 256_000 };
export const gemma3Defaults = { ...gemma2Defaults, vocab_size: 262_208 };
