// Configs of vision towers: CLIP, SigLIP, DINOv2 and ConvNeXt, in the layouts of transformers, of timm and of open_clip.
import { z } from 'zod';
import { nearestNames, OpabiniaError } from '../../dsl/index.ts';
import { clipConfig, clipPixels, clipShapes, type ClipConfig } from '../towers/clip.ts';
import { convNextConfig, convNextPixels, type ConvNextConfig } from '../towers/convnext.ts';
import { dinov2Config, dinov2Pixels, type Dinov2Config } from '../towers/dinov2.ts';
import { dinov2Shapes } from '../towers/dinov2-shapes.ts';
import { convNextShapes } from '../towers/convnext-shapes.ts';
import { ConfigReader } from './config-reader.ts';
import type { Shapes } from './param-shapes.ts';
import { siglipConfig, siglipPixels, timmSiglip, type SiglipConfig } from '../towers/siglip.ts';
import { siglipShapes } from '../towers/siglip-shapes.ts';
import type { PixelNorm } from '../towers/tower.ts';
import { plainConvNext, statedTower, timmTower } from './timm.ts';
import {
  asObject,
  checkConfig,
  dtypes,
  eps,
  heads,
  inner,
  layers,
  name,
  patch,
  pixels,
  ratio,
  width,
  type ConfigJson,
} from './fields.ts';

export type TowerConfig =
  | { readonly tower: 'clip'; readonly config: ClipConfig }
  | { readonly tower: 'siglip'; readonly config: SiglipConfig }
  | { readonly tower: 'dinov2'; readonly config: Dinov2Config }
  | { readonly tower: 'convnext'; readonly config: ConvNextConfig };

export type TowerKind = TowerConfig['tower'];

/** Of vision transformers; what is absent has the default of its class. */
export const vitFields = z.looseObject({
  hidden_size: width.nullish(),
  num_hidden_layers: layers.nullish(),
  num_attention_heads: heads.nullish(),
  intermediate_size: inner.nullish(),
  image_size: pixels.nullish(),
  patch_size: patch.nullish(),
  layer_norm_eps: eps.nullish(),
  hidden_act: name.nullish(),
  mlp_ratio: ratio.nullish(),
  use_swiglu_ffn: z.boolean().nullish(),
  qkv_bias: z.boolean().nullish(),
  num_channels: z.literal(3).nullish(),
  ...dtypes,
});
const stages = z.looseObject({
  depths: z.array(z.int().min(1).max(200)).min(1).max(8),
  dims: z.array(width).min(1).max(8),
  norm_eps: eps.nullish(),
  mlp_ratio: ratio.nullish(),
  kernel_size: z.int().min(1).max(63).nullish(),
  stem_patch_size: patch.nullish(),
  patch_size: patch.nullish(),
  hidden_act: name.nullish(),
  ...dtypes,
});
/** Model types of `config.json` that are towers. */
export const towerTypes: Readonly<Record<string, TowerKind>> = {
  clip: 'clip',
  clip_vision_model: 'clip',
  siglip: 'siglip',
  siglip_vision_model: 'siglip',
  dinov2: 'dinov2',
  convnext: 'convnext',
};

function checkedHeads<T extends { readonly width: number; readonly heads: number }>(config: T, where: string): T {
  if (config.width % config.heads !== 0)
    throw new OpabiniaError(`${where}: ${config.width} channels do not divide among ${config.heads} heads`, {
      op: 'config',
      advice: 'hidden_size must be a multiple of num_attention_heads',
    });
  return config;
}

/** A `config.json` of one of `towerTypes`, a whole model's `vision_config` included. Throws `OpabiniaError`. */
export function readTowerOf(json: ConfigJson, kind: TowerKind, where: string): TowerConfig {
  if (kind === 'convnext') return readConvNext(json, where);
  // CLIP's oldest configs have both, and transformers takes all of the second, its defaults among it.
  const place =
    kind === 'clip' && (json['vision_config_dict'] ?? null) !== null ? 'vision_config_dict' : 'vision_config';
  const inner = json[place] ?? undefined;
  const own = inner === undefined ? json : asObject(inner, `${where}, field '${place}'`);
  checkConfig(vitFields, own, where);
  const read = new ConfigReader(own, where);
  switch (kind) {
    case 'clip':
      return { tower: 'clip', config: checkedHeads(clipConfig(read), where) };
    case 'siglip':
      return { tower: 'siglip', config: checkedHeads(siglipConfig(read), where) };
    case 'dinov2':
      return { tower: 'dinov2', config: checkedHeads(dinov2Config(read), where) };
    default:
      return kind satisfies never;
  }
}

function readConvNext(json: ConfigJson, where: string): TowerConfig {
  if (json['hidden_sizes'] !== undefined && json['dims'] === undefined) {
    throw new OpabiniaError(`${where} is a ConvNeXt in the layout of transformers, whose tensors have other names`, {
      op: 'config',
      advice: 'use the checkpoint of timm or open_clip',
    });
  }
  checkConfig(stages, json, where);
  const read = new ConfigReader(json, where);
  read.fixed(plainConvNext);
  return { tower: 'convnext', config: convNextConfig(read) };
}

/**
 * `open_clip_config.json`, or timm's `config.json`, which name a SigLIP or a ConvNeXt; undefined for another file. Throws for a name that
 * is not known.
 */
export function readArchitecture(json: ConfigJson, where: string): TowerConfig | undefined {
  const stated = statedTower(json);
  if (stated === undefined) return undefined;
  const { name: named, args } = stated;
  const family = timmTower(named)?.family;
  // Sizes that a file states beside the name count.
  if (family === 'convnext') return readConvNext(json['depths'] === undefined ? args : { ...args, ...json }, where);
  if (family === 'siglip')
    return { tower: 'siglip', config: checkedHeads(timmSiglip(new ConfigReader(args, where)), where) };
  throw new OpabiniaError(`${where} names the architecture '${named}', which is not known`, {
    op: 'config',
    advice: `known are ${nearestNames(named, ['vit_so400m_patch14_siglip_384', 'convnext_xxlarge', 'convnext_large'], 3).join(', ')} and others of their kinds`,
  });
}

/** How a tower wants its pictures, unless its processor says otherwise. */
export const towerPixels: Readonly<Record<TowerKind, PixelNorm>> = {
  clip: clipPixels,
  siglip: siglipPixels,
  dinov2: dinov2Pixels,
  convnext: convNextPixels,
};

/** Names and shapes of a tower's checkpoint. */
export function towerShapes(tower: TowerConfig, names: 'timm' | 'hub' = 'timm'): Shapes {
  switch (tower.tower) {
    case 'clip':
      return clipShapes(tower.config);
    case 'siglip':
      return siglipShapes(tower.config, names);
    case 'dinov2':
      return dinov2Shapes(tower.config);
    case 'convnext':
      return convNextShapes(tower.config);
    default:
      return tower satisfies never;
  }
}

/** Side in pixels of the picture that a tower was made for; ConvNeXt takes any. */
export function nativeSide(tower: TowerConfig): number | undefined {
  return tower.tower === 'convnext' ? undefined : tower.config.image;
}

/** Channels of the map that a tower gives; of ConvNeXt of all stages together, or of the last alone. */
export function towerChannels(tower: TowerConfig, allStages = true): number {
  if (tower.tower !== 'convnext') return tower.config.width;
  const { widths } = tower.config;
  return allStages ? widths.reduce((sum, each) => sum + each, 0) : (widths.at(-1) ?? 0);
}
