// A small language model by itself, as a directory with weights from a seed and, where wanted, a chat template.
import { makeDirectory, writeJson, writeShards } from '../../examples/made/directory.ts';
import { makeTokenizer } from '../../examples/made/vocabulary.ts';
import { makeTensors } from '../../examples/made/weights.ts';
import { decoderShapes } from '../../models/configs/decoder-shapes.ts';
import { readConfig } from '../../models/configs/read.ts';
import type { DecoderName } from '../../models/decoders/families.ts';
import { countParameters } from '../../models/configs/param-shapes.ts';

export const languageControls = ['<s>', '</s>', '<|user|>', '<|assistant|>', '<|system|>', '<|end|>'] as const;
const vocabulary = 640;

/** The path of the directory. */
export function makeLanguage(directory: string, type: DecoderName, chatTemplate?: string): string {
  const write = (place: string, seed: number): number => {
    const tokenizer = makeTokenizer(vocabulary, { controls: languageControls, end: '</s>', chatTemplate });
    writeJson(place, 'tokenizer.json', tokenizer.json);
    writeJson(place, 'tokenizer_config.json', tokenizer.config);
    const config = {
      model_type: type,
      hidden_size: 48,
      intermediate_size: 96,
      num_hidden_layers: 2,
      num_attention_heads: 4,
      num_key_value_heads: 2,
      head_dim: 12,
      vocab_size: vocabulary,
      rms_norm_eps: 1e-5,
      max_position_embeddings: 256,
      original_max_position_embeddings: 256,
      bos_token_id: tokenizer.idOf('<s>'),
      eos_token_id: tokenizer.idOf('</s>'),
    };
    writeJson(place, 'config.json', config);
    const read = readConfig(config, 'config.json');
    if (read.kind !== 'language') throw new TypeError('the config is a language model’s');
    const shapes = decoderShapes(read.language);
    writeShards(place, makeTensors(shapes, seed));
    return countParameters(shapes);
  };
  return makeDirectory(directory, { what: `${type} ${chatTemplate ?? ''}`, version: 1, seed: 1, write }).directory;
}
