// Towers that timm and open_clip know by a name alone: what their constructors are given for it, and how their pictures are made.
import { z } from 'zod';
import type { ConfigJson } from './fields.ts';

/** What timm builds by a name: which of its classes, and with which arguments. */
export interface TimmTower {
  readonly family: 'vit' | 'siglip' | 'eva02' | 'convnext';
  readonly args: ConfigJson;
}

/** Channels, blocks and heads. */
const vits: Readonly<Record<string, readonly [number, number, number]>> = {
  tiny: [192, 12, 3],
  small: [384, 12, 6],
  base: [768, 12, 12],
  large: [1024, 24, 16],
  huge: [1280, 32, 16],
  so400m: [1152, 27, 16],
  giantopt: [1536, 40, 16],
};
const deep = [3, 3, 27, 3];
const convNexts: Readonly<Record<string, readonly [depths: readonly number[], first: number]>> = {
  tiny: [[3, 3, 9, 3], 96],
  small: [deep, 96],
  base: [deep, 128],
  large: [deep, 192],
  large_mlp: [deep, 192],
  xlarge: [deep, 256],
  xxlarge: [[3, 4, 30, 3], 384],
};

const vit = /^(vit|deit|eva02)_(tiny|small|base|large|huge|so400m|giantopt)_patch(\d+)_(clip_|siglip_(?:gap_)?)?(\d+)$/;
/** SigLIP's whose GELU timm computes by tanh, whatever their weights say. */
const tanh = /_(?:base_patch32|large_patch16_siglip_(?:gap_)?512|so400m_patch16|giantopt)/;

/** Arguments by timm's name, up to a dot, behind which it says how the weights were trained; undefined for one that is not known. */
export function timmTower(stated: string): TimmTower | undefined {
  const [name = ''] = stated.split('.');
  const convNext = /^convnext_(\w+)$/.exec(name)?.[1] ?? '';
  const sized = Object.hasOwn(convNexts, convNext) ? convNexts[convNext] : undefined;
  if (sized !== undefined) {
    const [depths, first] = sized;
    return {
      family: 'convnext',
      args: { depths, dims: [1, 2, 4, 8].map((by) => by * first), norm_eps: convNext === 'xxlarge' ? 1e-5 : 1e-6 },
    };
  }
  const [, kind = '', size = '', patch, of = '', side] = vit.exec(name) ?? [];
  const [width, depth, heads] = vits[size] ?? [];
  if (width === undefined) return undefined;
  const args = {
    img_size: Number(side),
    patch_size: Number(patch),
    embed_dim: width,
    depth,
    num_heads: heads,
  };
  if (of.startsWith('siglip')) {
    const [ratio, form] = [size === 'so400m' ? 3.7362 : 4, tanh.test(name) ? 'gelu_tanh' : 'gelu'];
    return kind === 'vit'
      ? { family: 'siglip', args: { ...args, mlp_ratio: ratio, class_token: false, act_layer: form } }
      : undefined;
  }
  if (kind !== 'eva02') return of === '' ? { family: 'vit', args } : undefined;
  const large = size === 'base' || size === 'large';
  return {
    family: 'eva02',
    args: {
      ...args,
      mlp_ratio: (4 * 2) / 3,
      swiglu_mlp: true,
      qkv_fused: !large,
      scale_mlp: large,
      use_rot_pos_emb: true,
      ref_feat_shape: [16, 16],
      ...(of === '' ? {} : { scale_attn_inner: true, global_pool: 'token' }),
    },
  };
}

/** What timm's transformers can be built with otherwise, and the code here cannot: the values that are known. */
export const plainTransformer = {
  in_chans: 3,
  no_embed_class: false,
  dynamic_img_pad: false,
  scale_attn_norm: false,
  scale_mlp_norm: false,
  proj_bias: true,
  norm_layer: 'layernorm',
  embed_layer: 'PatchEmbed',
  embed_norm_layer: 'none',
  block_fn: 'Block',
  mlp_layer: 'Mlp',
  attn_layer: 'Attention',
  use_naflex: false,
};

/** The same of its ConvNeXts. */
export const plainConvNext = {
  in_chans: 3,
  output_stride: 32,
  stem_type: 'patch',
  head_norm_first: false,
  conv_mlp: false,
  conv_bias: true,
  use_grn: false,
  norm_layer: 'layernorm2d',
};

const picture = z.tuple([z.number(), z.number(), z.number()]);
const side = z.int().min(1).max(8_192);
const sides = z.union([side, z.tuple([side, side])]);
const named = z.looseObject({
  architecture: z.string().min(1).max(200).optional(),
  model_args: z.looseObject({}).nullish(),
  pretrained_cfg: z
    .looseObject({ mean: picture.nullish(), std: picture.nullish(), input_size: z.tuple([side, side, side]).nullish() })
    .nullish(),
  model_cfg: z
    .looseObject({
      vision_cfg: z.looseObject({
        timm_model_name: z.string().min(1).max(200).nullish(),
        timm_pool: z.string().max(40).nullish(),
        timm_proj: z.string().max(40).nullish(),
        timm_model_kwargs: z.looseObject({}).nullish(),
        image_size: sides.nullish(),
      }),
    })
    .optional(),
  preprocess_cfg: z.looseObject({ mean: picture.nullish(), std: picture.nullish(), size: sides.nullish() }).nullish(),
});

/** A tower of timm's or open_clip's, as its own config states it. */
export interface StatedTower {
  /** The architecture, by the name that timm has for it. */
  readonly name: string;
  /** All arguments that its constructor is given. */
  readonly args: ConfigJson;
  /** The config with them as its `model_args`; one with arguments alone, and nothing that timm writes beside them, as it is. */
  readonly json: ConfigJson;
  /** How its pictures are made, as far as the file says so. */
  readonly mean: readonly [number, number, number] | undefined;
  readonly std: readonly [number, number, number] | undefined;
  readonly side: number | undefined;
}

/** open_clip's own transformer, which has no name of timm's. */
export const openClipName = 'open_clip_vit';

/** `config.json` of timm, or `open_clip_config.json`; undefined for another file. */
export function statedTower(json: ConfigJson): StatedTower | undefined {
  const read = json['model_type'] === undefined ? named.safeParse(json) : undefined;
  if (read?.success !== true) return undefined;
  const {
    architecture,
    model_args: own,
    pretrained_cfg: trained,
    model_cfg: model,
    preprocess_cfg: pictures,
  } = read.data;
  const vision = model?.vision_cfg;
  const name = architecture ?? (vision === undefined ? undefined : (vision.timm_model_name ?? openClipName));
  if (name === undefined) return undefined;
  const args = timmTower(name)?.args ?? {};
  const { timm_pool: pool, timm_proj: projection } = vision ?? {};
  // Pictures decide the table of positions, where the constructor is not told otherwise.
  const size = trained?.input_size?.slice(1);
  // open_clip gives its pooling to the constructor unless it puts a projection of its own behind.
  const pooled = vision !== undefined && projection !== 'linear' && projection !== 'mlp';
  // Some authors state arguments beside the name; the pooling that timm writes there is no argument.
  const { global_pool: _pool, model_args: _args, ...beside } = json;
  const whole = {
    ...args,
    ...(size === undefined || timmTower(name)?.family !== 'vit' ? {} : { img_size: size }),
    ...(architecture === undefined ? {} : beside),
    ...(pooled ? { global_pool: pool ?? 'avg' } : {}),
    ...vision?.timm_model_kwargs,
    ...own,
  };
  const complete = own !== undefined && own !== null && (trained === undefined || trained === null);
  const stated = pictures?.size ?? size ?? vision?.image_size ?? undefined;
  return {
    name,
    args: whole,
    json: complete || Object.keys(whole).length === 0 ? json : { ...json, architecture: name, model_args: whole },
    mean: trained?.mean ?? pictures?.mean ?? undefined,
    std: trained?.std ?? pictures?.std ?? undefined,
    side: typeof stated === 'number' ? stated : stated?.[0],
  };
}
