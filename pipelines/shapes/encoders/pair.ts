// The two encoders of the shapes: a small vision transformer on a coarse grid, which tells what and how large, and a small ConvNeXt on a fine one, which sees edges and signs.
import type { Shapes } from '../../../models/configs/param-shapes.ts';
import { towerShapes, towerPixels, type TowerConfig } from '../../../models/configs/towers.ts';
import type { MapShape } from '../../../models/connectors/connector.ts';
import type { FeatureMap } from '../../../models/sequence/regions.ts';
import { convNextFeatures } from '../../../models/towers/convnext.ts';
import { siglipFeatures } from '../../../models/towers/siglip.ts';
import type { Pixels } from '../../../models/towers/tower.ts';
import { OpabiniaError, type Params } from '../../../dsl/index.ts';
import type { Drawn } from '../scene/draw.ts';
import { scenePresets, type PresetName } from '../scene/scene.ts';

export interface ShapeEncoder {
  /** Its kind is told from the name, as Cambrian's loader does. */
  readonly name: string;
  /** Of its checkpoint, in the layout of Hugging Face. */
  readonly config: Readonly<Record<string, unknown>>;
  readonly tower: TowerConfig;
  /** Side of the grid, and channels. */
  readonly map: MapShape;
}

/** Pixels of a patch grow with the picture: all presets have the same two grids, and L a finer one for the words. */
const patches: Readonly<Record<PresetName, readonly [coarse: number, fine: number]>> = {
  S: [8, 4],
  M: [16, 8],
  L: [32, 8],
};

/** The encoders of a preset, coarse one first. */
export function encoderPair(preset: PresetName): readonly [ShapeEncoder, ShapeEncoder] {
  const { side } = scenePresets[preset];
  const [coarse, fine] = patches[preset];
  const wide = { S: [64, 32], M: [96, 48], L: [96, 64] } as const;
  const [width, channels] = wide[preset];
  const [layers, heads, hidden] = [2, 4, 2 * width];
  const [depth, kernel, ratio] = [2, 5, 2];
  return [
    {
      name: `siglip/shapes-${preset.toLowerCase()}-${coarse}-${side}`,
      config: {
        model_type: 'siglip_vision_model',
        hidden_size: width,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        intermediate_size: hidden,
        image_size: side,
        patch_size: coarse,
        hidden_act: 'gelu',
      },
      tower: {
        tower: 'siglip',
        config: { width, layers, heads, hidden, image: side, patch: coarse, eps: 1e-6, activation: 'exact' },
      },
      map: [side / coarse, side / coarse, width],
    },
    {
      name: `convnext-shapes-${preset.toLowerCase()}-res${side}`,
      config: {
        model_type: 'convnext',
        depths: [depth],
        dims: [channels],
        stem_patch_size: fine,
        kernel_size: kernel,
        mlp_ratio: ratio,
      },
      tower: {
        tower: 'convnext',
        config: { depths: [depth], widths: [channels], stem: fine, kernel, ratio, eps: 1e-5, activation: 'exact' },
      },
      map: [side / fine, side / fine, channels],
    },
  ];
}

/** Names and shapes of an encoder's parameters, without the pooling heads that nobody here reads. */
export function encoderShapes({ tower }: ShapeEncoder): Shapes {
  const unread = /^(?:visual\.trunk\.|vision_model\.)?(?:attn_pool|head)\./;
  return new Map([...towerShapes(tower)].filter(([path]) => !unread.test(path)));
}

/** Pixels, normalized as the encoder wants them, to its map. */
export function encode(p: Params, pixels: Pixels, { tower }: ShapeEncoder): FeatureMap {
  switch (tower.tower) {
    case 'siglip':
      return siglipFeatures(p, pixels, tower.config);
    case 'convnext':
      return convNextFeatures(p, pixels, tower.config);
    case 'clip':
    case 'dinov2':
      throw new OpabiniaError(`the shapes have no encoder of the kind '${tower.tower}'`, { op: 'encoders' });
    default:
      return tower satisfies never;
  }
}

/** Bytes of pictures as the encoder takes them: channels last, (v / 255 − mean) / std. */
export function normalized(pictures: readonly Drawn[], { tower }: ShapeEncoder): Float32Array {
  const { mean, std } = towerPixels[tower.tower];
  const out = new Float32Array(pictures.reduce((sum, { rgb }) => sum + rgb.length, 0));
  let at = 0;
  for (const { rgb } of pictures)
    for (let i = 0; i < rgb.length; i++) {
      const c = i % 3;
      out[at++] = ((rgb[i] ?? 0) / 255 - (mean[c] ?? 0)) / (std[c] ?? 1);
    }
  return out;
}
