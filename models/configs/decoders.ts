// Configs of the language models by themselves.
import { z } from 'zod';
import { OpabiniaError } from '../../dsl/index.ts';
import { nameAdvice } from '../../dsl/text/near-names.ts';
import type { LanguageModel } from '../decoders/decoder.ts';
import { decoderTypes, isDecoderName, type DecoderName } from '../decoders/families.ts';
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
  type ConfigJson,
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
  type: DecoderName,
  where: string,
  window: 'exact' | 'older' = 'exact',
): LanguageModel {
  checkConfig(decoderSchema, asObject(json, where), where);
  return type === 'phi3' ? phi3(json, { name: where, window }) : decoderTypes[type].read(json, where);
}

/**
 * The language model of a whole model's `text_config`, a Llama unless it says otherwise. What it leaves out has the default of its class,
 * except whether embeddings are tied, which transformers 5 says in the outer config. Throws `OpabiniaError`.
 */
export function readInnerDecoder(
  outer: ConfigJson,
  text: ConfigJson,
  where: string,
  aliases: Readonly<Record<string, DecoderName>> = {},
): LanguageModel {
  const stated = text['model_type'] ?? 'llama';
  const type = typeof stated === 'string' && Object.hasOwn(aliases, stated) ? aliases[stated] : stated;
  if (!isDecoderName(type))
    throw new OpabiniaError(`${where} has a language model of type '${String(stated).slice(0, 80)}'`, {
      op: 'config',
      advice: nameAdvice(
        String(stated),
        Object.keys(decoderTypes),
        `known are ${Object.keys(decoderTypes).join(', ')}`,
      ),
    });
  const tied = text['tie_word_embeddings'] ?? outer['tie_word_embeddings'];
  const whole = {
    ...decoderTypes[type].defaults,
    ...text,
    ...(tied === undefined ? {} : { tie_word_embeddings: tied }),
  };
  return readDecoder(whole, type, `${where}, field 'text_config'`);
}
