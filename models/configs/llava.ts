// Configs of LLaVA-1.5 (`llava`) and LLaVA-NeXT (`llava_next`), as transformers writes them.
import { z } from 'zod';
import { OpabiniaError } from '../../dsl/index.ts';
import type { Connect } from '../connectors/connector.ts';
import type { ClipConfig } from '../towers/clip.ts';
import type { LanguageModel } from '../decoders/decoder.ts';
import { readInnerDecoder } from './decoders.ts';
import { asObject, checkConfig, dtypes, name, type ConfigJson } from './fields.ts';
import { readTowerOf, towerTypes, type TowerConfig } from './towers.ts';

export interface LlavaConfig {
  readonly type: 'llava' | 'llava_next';
  readonly language: LanguageModel;
  /** Whose tower it is: CLIP's unless told otherwise. */
  readonly tower?: 'siglip' | undefined;
  readonly vision: ClipConfig;
  /** Hidden states of the tower, their channels side by side, and whether the class token goes; SigLIP has none. */
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
  const isDefault = (fields.vision_feature_select_strategy ?? 'default') === 'default';
  return {
    type,
    ...readTower(fields.vision_config, isDefault, where),
    language: readInnerDecoder(json, text, where),
    layers: [fields.vision_feature_layer ?? -2].flat(),
    imageToken: fields.image_token_id ?? fields.image_token_index ?? 32000,
    canvases: type === 'llava_next' ? (fields.image_grid_pinpoints ?? defaultCanvases) : [],
  };
}

function readTower(
  vision: ConfigJson,
  isDefault: boolean,
  where: string,
): Pick<LlavaConfig, 'tower' | 'vision' | 'dropClass'> {
  const seen = vision['model_type'] ?? 'clip_vision_model';
  const kind = typeof seen === 'string' ? towerTypes[seen] : undefined;
  const place = `${where}, field 'vision_config'`;
  if (kind === 'siglip') {
    // The first token of 'default' would be a patch: what is left of it is no grid.
    if (isDefault)
      throw new OpabiniaError(`${where} has a SigLIP tower and vision_feature_select_strategy 'default'`, {
        op: 'config',
        advice: "SigLIP has no class token to leave out: such models have 'full'",
      });
    const { config } = readTowerOf(vision, 'siglip', place) as Extract<TowerConfig, { tower: 'siglip' }>;
    return { tower: 'siglip', vision: { ...config, activation: config.activation ?? 'exact' }, dropClass: true };
  }
  if (kind !== 'clip')
    throw new OpabiniaError(`${where} has a vision tower of type '${String(seen)}'`, {
      op: 'config',
      advice: "known are 'clip_vision_model' and 'siglip_vision_model'",
    });
  const { config } = readTowerOf({ ...clipLarge, ...vision }, 'clip', place) as Extract<TowerConfig, { tower: 'clip' }>;
  return { vision: config, dropClass: isDefault };
}
