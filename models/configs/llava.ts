// Configs of LLaVA-1.5 (`llava`) and LLaVA-NeXT (`llava_next`), as transformers writes them.
import { z } from 'zod';
import { OpabiniaError } from '../../dsl/index.ts';
import type { Connect } from '../connectors/connector.ts';
import type { ClipConfig } from '../towers/clip.ts';
import type { LanguageModel } from '../decoders/decoder.ts';
import { readInnerDecoder } from './decoders.ts';
import { asObject, checkConfig, dtypes, name, type ConfigJson } from './fields.ts';
import { readTowerOf } from './towers.ts';

export interface LlavaConfig {
  readonly type: 'llava' | 'llava_next';
  readonly language: LanguageModel;
  readonly vision: ClipConfig;
  /** Hidden states of the tower, their channels side by side, and whether the class token goes. */
  readonly layers: readonly number[];
  readonly dropClass: boolean;
  /** Id that stands for an image in the tokenizer. */
  readonly imageToken: number;
  /** LLaVA-NeXT: heights and widths of the canvases that a picture may be put on. */
  readonly canvases: readonly (readonly [height: number, width: number])[];
  /** What makes tokens of the tower's patches; LLaVA's own two-layer MLP unless told otherwise. */
  readonly connector?: Connect | undefined;
}

const hiddenLayer = z.int().min(-1_000).max(1_000);

const schema = z.looseObject({
  text_config: z.looseObject({}),
  vision_config: z.looseObject({}),
  projector_hidden_act: name.nullish(),
  multimodal_projector_bias: z.boolean().nullish(),
  vision_feature_layer: z.union([hiddenLayer, z.array(hiddenLayer).min(1).max(64)]).nullish(),
  vision_feature_select_strategy: z.enum(['default', 'full']).nullish(),
  image_token_index: z.int().min(0).max(4_194_304).nullish(),
  image_token_id: z.int().min(0).max(4_194_304).nullish(),
  image_grid_pinpoints: z
    .array(z.tuple([z.int().min(1).max(16_384), z.int().min(1).max(16_384)]))
    .max(64)
    .nullish(),
  ...dtypes,
});

const defaultCanvases = [
  [336, 672],
  [672, 336],
  [672, 672],
  [1008, 336],
  [336, 1008],
] as const;

/** What a sparse `vision_config` leaves out is CLIP ViT-L/14 at 336. */
const clipLarge = {
  hidden_size: 1024,
  intermediate_size: 4096,
  num_hidden_layers: 24,
  num_attention_heads: 16,
  image_size: 336,
  patch_size: 14,
};

/** Throws `OpabiniaError`. */
export function readLlava(json: ConfigJson, type: LlavaConfig['type'], where: string): LlavaConfig {
  if (json['text_config'] === undefined && json['mm_vision_tower'] !== undefined) {
    throw new OpabiniaError(
      `${where} is in the layout of LLaVA's own repository: 'mm_vision_tower', and no 'text_config'`,
      { op: 'config', advice: 'take the checkpoint in the layout of transformers, such as llava-hf/llava-1.5-7b-hf' },
    );
  }
  const fields = checkConfig(schema, json, where);
  const text = asObject(fields.text_config, `${where}, field 'text_config'`);
  if ((fields.projector_hidden_act ?? 'gelu') !== 'gelu')
    throw new OpabiniaError(`${where} asks for the projector activation '${String(fields.projector_hidden_act)}'`, {
      op: 'config',
      advice: "known is 'gelu'",
    });
  if (fields.multimodal_projector_bias === false)
    throw new OpabiniaError(`${where} has 'multimodal_projector_bias' false`, {
      op: 'config',
      advice: 'known are projectors with biases',
    });
  const seen = fields.vision_config['model_type'] ?? 'clip_vision_model';
  if (seen !== 'clip_vision_model' && seen !== 'clip')
    throw new OpabiniaError(`${where} has a vision tower of type '${String(seen)}'`, {
      op: 'config',
      advice: "known is 'clip_vision_model'",
    });
  const tower = readTowerOf({ ...clipLarge, ...fields.vision_config }, 'clip', `${where}, field 'vision_config'`);
  if (tower.tower !== 'clip')
    throw new OpabiniaError(`${where} has a vision tower of kind '${tower.tower}'`, {
      op: 'config',
      advice: "known is 'clip'",
    });
  return {
    type,
    vision: tower.config,
    language: readInnerDecoder(json, text, where),
    layers: [fields.vision_feature_layer ?? -2].flat(),
    dropClass: (fields.vision_feature_select_strategy ?? 'default') === 'default',
    imageToken: fields.image_token_id ?? fields.image_token_index ?? 32000,
    canvases: type === 'llava_next' ? (fields.image_grid_pinpoints ?? defaultCanvases) : [],
  };
}
