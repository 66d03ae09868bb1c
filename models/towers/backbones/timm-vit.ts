// Vision transformers under timm's names: AugReg and ImageNet-21k (arXiv 2106.10270), MAE's weights there, MoCo v3 (arXiv 2104.02057).
import { constantLike, slice, type Params } from '../../../dsl/index.ts';
import { geluOf } from '../../configs/activation.ts';
import { plainTransformer } from '../../configs/timm.ts';
import type { ConfigReader } from '../../configs/config-reader.ts';
import { encodeVit, normedBy, type Backbone, type BackboneType } from '../backbone.ts';
import { behind, patchTokens, tableRows, without } from '../hub-layer.ts';
import { sinCosTable } from '../positions.ts';
import { gridOf, rootOf, type Grid, type Pixels } from '../tower.ts';
import { geluMlp, positionsFor, type BlockParts, type Tokens, type VitConfig } from '../vit.ts';

export interface TimmSizes extends VitConfig {
  /** The grid of the table of positions. */
  readonly native: Grid;
  readonly qkvBias: boolean;
  /** Whether a norm stands behind the last block; where pictures are averaged, it stands behind the mean instead. */
  readonly normed: boolean;
}

const common = { ...plainTransformer, class_token: true };
const plain = { pos_embed: 'learn', reg_tokens: 0, pre_norm: false, final_norm: true, qk_norm: false };

/** Fields of timm's constructor, in `model_args`. Throws `OpabiniaError`. */
export function timmSizes(
  config: ConfigReader,
  pool: 'token' | 'avg',
  fixed: Parameters<ConfigReader['fixed']>[0],
): TimmSizes {
  const args = config.inner('model_args') ?? config;
  args.fixed({ ...common, ...fixed });
  const patch = args.count('patch_size', 16);
  const [height, across] = args.sides('img_size', 224);
  const width = args.count('embed_dim', 768);
  return {
    width,
    layers: args.count('depth', 12),
    heads: args.count('num_heads', 12),
    hidden: Math.trunc(width * args.number('mlp_ratio', 4)),
    image: height,
    patch,
    eps: config.number('norm_eps', 1e-6),
    native: [Math.floor(height / patch), Math.floor(across / patch)],
    qkvBias: args.flag('qkv_bias', true),
    normed: !['avg', 'avgmax', 'max'].includes(args.text('global_pool', pool)),
  };
}

/** Where timm's block keeps what all of its transformers have. */
export function timmBlock(p: Params): Omit<BlockParts, 'mlp'> {
  return { norm1: p.at('norm1'), qkv: p.at('attn', 'qkv'), out: p.at('attn', 'proj'), norm2: p.at('norm2') };
}

/** A class token and the patches `b n c` in front of the first block, each with its position: the table's grid resized to the picture's. */
export function timmEmbeddings(root: Params, pixels: Pixels, { width: c, patch, native }: TimmSizes): Tokens {
  const positions = positionsFor(tableRows(root, 'pos_embed', { n: native[0] * native[1] + 1, c }), {
    classTokens: 1,
    grid: gridOf(pixels, patch),
    picture: [pixels.size('h'), pixels.size('w')],
    by: 'antialias',
    native,
  });
  const first = tableRows(root, 'cls_token', { n: 1, c }).add(slice(positions, 'n', { size: 1 }));
  const patches = patchTokens(root.at('patch_embed', 'proj'), pixels, { patch, size: c });
  return behind([first], patches.add(slice(positions, 'n', { start: 1 })));
}

function backbone(read: ConfigReader, roots: readonly string[]): Backbone {
  const config = timmSizes(read, 'token', plain);
  const args = read.inner('model_args') ?? read;
  const activation = args.has('act_layer') ? geluOf(args, 'gelu', 'act_layer') : geluOf(read, 'gelu');
  const { width: c, patch, eps, native, qkvBias } = config;
  const n = native[0] * native[1] + 1;
  const normed = !args.flag('fc_norm', !config.normed);
  const scaled = args.has('init_values');
  return {
    width: c,
    encode: (p, pixels) => {
      const root = rootOf(p, roots, 'pos_embed');
      const encoded = encodeVit({
        grid: gridOf(pixels, patch),
        classTokens: 1,
        embeddings: timmEmbeddings(root, pixels, config),
        config,
        block: (i) => {
          const at = root.at('blocks', i);
          const mlp = { up: at.at('mlp', 'fc1'), down: at.at('mlp', 'fc2') };
          return {
            ...timmBlock(at),
            qkvBias,
            scales: scaled ? [at.get('ls1.gamma', 'c', { c }), at.get('ls2.gamma', 'c', { c })] : undefined,
            mlp: (x) => geluMlp(mlp, x, config.hidden, activation),
          };
        },
        norm: normed ? normedBy(root.at('norm'), eps) : undefined,
      });
      return {
        ...encoded,
        features: without(encoded.last, 1),
        named: {
          sincos: () => constantLike(pixels, sinCosTable(native, c, 'row', true), 'n c', { n, c }, 'f32'),
        },
      };
    },
  };
}

export const timmVit: BackboneType = {
  kind: 'timm-vit',
  types: ['vit_base_patch16_224', 'vit_large_patch16_224', 'vit_huge_patch14_224'],
  unread: [
    ...['', 'trunk.', 'visual.trunk.'].flatMap((root) => [`${root}head`, `${root}fc_norm`]),
    ...['visual.head', 'text', 'logit_scale', 'logit_bias'],
  ],
  read: (config) => backbone(config, ['', 'trunk', 'visual.trunk']),
};

export const moco: BackboneType = {
  kind: 'moco-vit',
  types: ['moco_v3_vit'],
  unread: ['module.momentum_encoder', 'module.predictor', 'module.base_encoder.head', 'head'],
  read: (config) => backbone(config, ['module.base_encoder', 'base_encoder', '']),
};
