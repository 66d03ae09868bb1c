// Configs of the language models by themselves: model types `llama` and `phi3`.
import { z } from 'zod';
import type { LanguageModel } from '../decoders/decoder.ts';
import { llama } from '../decoders/llama.ts';
import { phi3 } from '../decoders/phi3.ts';
import {
  asObject,
  checkConfig,
  dtypes,
  eps,
  heads,
  inner,
  layers,
  positions,
  theta,
  tokenIds,
  vocabulary,
  width,
} from './fields.ts';

const scaling = z.looseObject({
  rope_type: z.string().max(40).nullish(),
  type: z.string().max(40).nullish(),
  factor: z.number().positive().max(1e6).nullish(),
  rope_theta: theta.nullish(),
});

/** What is checked of either; the readers of the families know the defaults of what is absent. */
export const decoderFields = {
  hidden_size: width,
  intermediate_size: inner,
  num_hidden_layers: layers,
  num_attention_heads: heads,
  num_key_value_heads: heads.nullish(),
  head_dim: z.int().min(1).max(4_096).nullish(),
  vocab_size: vocabulary,
  max_position_embeddings: positions.nullish(),
  rms_norm_eps: eps.nullish(),
  rope_theta: theta.nullish(),
  rope_scaling: scaling.nullish(),
  rope_parameters: scaling.nullish(),
  tie_word_embeddings: z.boolean().nullish(),
  attention_bias: z.boolean().nullish(),
  mlp_bias: z.boolean().nullish(),
  sliding_window: positions.nullish(),
  bos_token_id: tokenIds.nullish(),
  eos_token_id: tokenIds.nullish(),
  pad_token_id: z.int().min(-1).max(4_194_304).nullish(),
  ...dtypes,
};

const decoderSchema = z.looseObject(decoderFields);

/** `older` windows are those of Cambrian's own copy of Phi-3. Throws `OpabiniaError`. */
export function readDecoder(
  json: unknown,
  family: 'llama' | 'phi3',
  where: string,
  window: 'exact' | 'older' = 'exact',
): LanguageModel {
  checkConfig(decoderSchema, asObject(json, where), where);
  return family === 'llama' ? llama(json, where) : phi3(json, { name: where, window });
}
