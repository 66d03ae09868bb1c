// The language models by the `model_type` of their config: a new one is a file and a row here.
import type { LanguageModel } from './decoder.ts';
import { gemma2, gemma2Defaults, gemma3, gemma3Defaults } from './families/gemma.ts';
import { llama } from './llama.ts';
import { mistral, mistralDefaults } from './families/mistral.ts';
import { olmo2, olmo2Defaults } from './families/olmo2.ts';
import { phi3, phi3Defaults } from './phi3.ts';
import { qwen2, qwen3, qwenDefaults } from './families/qwen.ts';

export interface DecoderType {
  /** Throws `OpabiniaError`. */
  readonly read: (json: unknown, name: string) => LanguageModel;
  /** What a config inside another leaves out, besides what `read` knows: transformers writes there only what differs from its class. */
  readonly defaults: Readonly<Record<string, unknown>>;
}

/** `LlamaConfig` is by default the 7B that Vicuna is. */
const llamaDefaults = {
  hidden_size: 4096,
  intermediate_size: 11008,
  num_hidden_layers: 32,
  num_attention_heads: 32,
  vocab_size: 32000,
};

export const decoderTypes = {
  llama: { read: llama, defaults: llamaDefaults },
  mistral: { read: mistral, defaults: mistralDefaults },
  phi3: { read: (json, name) => phi3(json, { name }), defaults: phi3Defaults },
  qwen2: { read: qwen2, defaults: qwenDefaults },
  qwen3: { read: qwen3, defaults: { ...qwenDefaults, head_dim: 128 } },
  gemma2: { read: gemma2, defaults: gemma2Defaults },
  gemma3_text: { read: gemma3, defaults: gemma3Defaults },
  olmo2: { read: olmo2, defaults: olmo2Defaults },
} as const satisfies Readonly<Record<string, DecoderType>>;

export type DecoderName = keyof typeof decoderTypes;

export function isDecoderName(type: unknown): type is DecoderName {
  return typeof type === 'string' && Object.hasOwn(decoderTypes, type);
}
