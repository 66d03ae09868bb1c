// Configs of LLaVA-1.5 (`llava`), LLaVA-NeXT (`llava_next`) and LLaVA-OneVision (`llava_onevision`), as transformers writes them.
import { z } from 'zod';
import { OpabiniaError } from '../../dsl/index.ts';
import type { Connect } from '../connectors/connector.ts';
import type { ClipConfig } from '../towers/clip.ts';
import { nextCanvases, oneVisionCanvases, type Canvas } from '../sequence/anyres.ts';
import type { LanguageModel } from '../decoders/decoder.ts';
import { readInnerDecoder } from './decoders.ts';
import { asObject, checkConfig, dtypes, name, type ConfigJson } from './fields.ts';
import { readTowerOf, towerTypes, type TowerConfig } from './towers.ts';

export type LlavaType = 'llava' | 'llava_next' | 'llava_onevision';

/** What one class differs in from the others, and what its config leaves out. */
interface LlavaClass {
  readonly title: string;
  readonly layer: number;
  readonly select: 'default' | 'full';
  readonly imageToken: number;
  readonly tower: string;
  readonly text: string;
  readonly canvases: readonly Canvas[];
  /** N of `anyres_max_N`. */
  readonly limit?: number;
}

const ofClip = { layer: -2, select: 'default', imageToken: 32_000, tower: 'clip_vision_model', text: 'llama' } as const;

/** By `model_type`. */
export const llavaClasses: Readonly<Record<LlavaType, LlavaClass>> = {
  llava: { ...ofClip, title: 'LLaVA-1.5', canvases: [] },
  llava_next: {
    ...ofClip,
    title: 'LLaVA-NeXT',
    canvases: nextCanvases,
  },
  llava_onevision: {
    title: 'LLaVA-OneVision',
    layer: -1,
    select: 'full',
    imageToken: 151_646,
    tower: 'siglip_vision_model',
    text: 'qwen2',
    canvases: oneVisionCanvases,
    limit: 9,
  },
};

export function isLlavaType(type: unknown): type is LlavaType {
  return typeof type === 'string' && Object.hasOwn(llavaClasses, type);
}

export interface LlavaConfig {
  readonly type: LlavaType;
  readonly language: LanguageModel;
  /** Whose tower it is: CLIP's unless told otherwise. */
  readonly tower?: 'siglip' | undefined;
  readonly vision: ClipConfig;
  /** Hidden states of the tower, their channels side by side, and whether the class token goes; SigLIP has none. */
  readonly layers: readonly number[];
  readonly dropClass: boolean;
  /** Id that stands for an image in the tokenizer. */
  readonly imageToken: number;
  /** Heights and widths of the canvases that a picture may be put on; none where no picture is cut into tiles. */
  readonly canvases: readonly Canvas[];
  /** N of OneVision's `anyres_max_N`: what is clearly more than N tiles' tokens is resized to about N. */
  readonly limit?: number | undefined;
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
  vision_aspect_ratio: z.string().nullish(),
  ...dtypes,
});

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
  const own = llavaClasses[type];
  const isDefault = (fields.vision_feature_select_strategy ?? own.select) === 'default';
  return {
    type,
    ...readTower(fields.vision_config, own.tower, isDefault, where),
    language: readInnerDecoder(json, { model_type: own.text, ...text }, where),
    layers: [fields.vision_feature_layer ?? own.layer].flat(),
    imageToken: fields.image_token_id ?? fields.image_token_index ?? own.imageToken,
    canvases: own.canvases.length === 0 ? [] : (fields.image_grid_pinpoints ?? own.canvases),
    limit: limitOf(fields.vision_aspect_ratio, own, where),
  };
}

/** The rules of LLaVA-OneVision's own code that are not `anyres_max_N` are refused by transformers too. */
function limitOf(stated: string | null | undefined, { limit }: LlavaClass, where: string): number | undefined {
  if (limit === undefined || stated === undefined || stated === null) return limit;
  const [, count] = /^anyres_max_([1-9]\d?)$/.exec(stated) ?? [];
  if (count !== undefined) return Number(count);
  throw new OpabiniaError(`${where} has vision_aspect_ratio '${stated.slice(0, 40)}'`, {
    op: 'config',
    advice: "known is anyres_max_N, such as 'anyres_max_9'",
  });
}

function readTower(
  vision: ConfigJson,
  otherwise: string,
  isDefault: boolean,
  where: string,
): Pick<LlavaConfig, 'tower' | 'vision' | 'dropClass'> {
  const seen = vision['model_type'] ?? otherwise;
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
