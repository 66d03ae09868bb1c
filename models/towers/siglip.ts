// SigLIP's vision transformer (arXiv 2303.15343), with the names of timm and open_clip, or of Hugging Face's SiglipVisionModel.
import { layerNorm, type Float, type Params, type Tensor } from '../../dsl/index.ts';
import { geluOf, type Gelu } from '../configs/activation.ts';
import type { ConfigReader } from '../configs/config-reader.ts';
import { plainTransformer } from '../configs/timm.ts';
import type { FeatureMap } from '../sequence/regions.ts';
import { poolingHead } from './siglip-head.ts';
import { siglipNames } from './siglip-names.ts';
import { clipMean, gridOf, patchConv, type Pixels, type PixelNorm } from './tower.ts';
import {
  embed,
  geluMlp,
  positionRows,
  positionsFor,
  tappedMap,
  throughBlocks,
  type Encoded,
  type TapOptions,
  type VitConfig,
  vitBlock,
} from './vit.ts';

export interface SiglipConfig extends VitConfig {
  /** timm, and so Cambrian-1, runs the exact form (the default); Hugging Face's config says tanh. */
  readonly activation?: Gelu | undefined;
}

/** timm/ViT-SO400M-14-SigLIP-384 */
export const siglipSo400m384: SiglipConfig = {
  width: 1152,
  layers: 27,
  heads: 16,
  hidden: 4304,
  image: 384,
  patch: 14,
  eps: 1e-6,
};

/** Normalised with its own mean, but padded with CLIP's: Cambrian-1 wraps open_clip's transform in a processor that has that default. */
export const siglipPixels: PixelNorm = { side: 384, mean: [0.5, 0.5, 0.5], std: [0.5, 0.5, 0.5], padding: clipMean };

/** A `vision_config`, or the config of a vision model by itself; what is absent has the default of `SiglipVisionConfig`. */
export function siglipConfig(read: ConfigReader): SiglipConfig {
  return {
    width: read.count('hidden_size', 768),
    layers: read.count('num_hidden_layers', 12),
    heads: read.count('num_attention_heads', 12),
    hidden: read.count('intermediate_size', 3072),
    image: read.count('image_size', 224),
    patch: read.count('patch_size', 16),
    eps: read.number('layer_norm_eps', 1e-6),
    activation: geluOf(read, 'gelu_pytorch_tanh'),
  };
}

/** The arguments of timm's constructor. Throws `OpabiniaError` for what would be another transformer. */
export function timmSiglip(read: ConfigReader): SiglipConfig {
  read.fixed({
    ...plainTransformer,
    class_token: false,
    pos_embed: 'learn',
    reg_tokens: 0,
    pre_norm: false,
    final_norm: true,
    fc_norm: false,
    qk_norm: false,
    qkv_bias: true,
  });
  if (read.has('init_values'))
    throw read.wrong('init_values', 'is given', 'factors of what blocks add are not known of SigLIP');
  const [width, [image, across]] = [read.count('embed_dim', 768), read.sides('img_size', 224)];
  if (image !== across) throw read.wrong('img_size', `is ${image} × ${across}`, 'known are squares');
  return {
    width,
    layers: read.count('depth', 12),
    heads: read.count('num_heads', 12),
    hidden: Math.trunc(width * read.positive('mlp_ratio', 4)),
    image,
    patch: read.count('patch_size', 16),
    eps: 1e-6,
    activation: geluOf(read, 'gelu', 'act_layer'),
  };
}

export interface SiglipEncoded extends Encoded {
  /** What the pooling head reads; Cambrian-1 does not use it. */
  readonly pooled: () => Tensor<'b c', Float>;
}

/** All of the tower; what is not used of it costs nothing. No class token; `last` is normalised. */
export function siglipVision(p: Params, pixels: Pixels, config: SiglipConfig): SiglipEncoded {
  const names = siglipNames(p);
  const { width, patch, eps, hidden: inner, activation = 'exact' } = config;
  const grid = gridOf(pixels, patch);
  const table = names.positions({ n: positionRows(config, 0), c: width });
  const positions = positionsFor(table, { classTokens: 0, grid, picture: [pixels.size('h'), pixels.size('w')] });
  const embeddings = embed(patchConv(names.patches, pixels, { patch, size: width }), positions);
  const hidden = throughBlocks(embeddings, config.layers, (x, i) => {
    const { up, down, ...parts } = names.block(i);
    return vitBlock({ ...parts, mlp: (y) => geluMlp({ up, down }, y, inner, activation) }, x, config);
  });
  const last = layerNorm(names.norm, hidden.at(-1) ?? embeddings, { eps });
  return {
    grid,
    classTokens: 0,
    positions,
    embeddings,
    hidden,
    last,
    pooled: () => poolingHead(names.head, last, config),
  };
}

/**
 * The map that a connector reads. Cambrian-1 takes the last hidden state after the final norm.
 * @example const map = siglipFeatures(t.params, pixels, config) // Tensor<'b h w c'>
 */
export function siglipFeatures(p: Params, pixels: Pixels, config: SiglipConfig, options: TapOptions = {}): FeatureMap {
  const { layer = -1, norm = true, grid } = options;
  return tappedMap(siglipVision(p, pixels, config), { layer, norm, grid }, siglipNames(p).norm, config.eps);
}
