// Vision transformers under timm's names: AugReg and ImageNet-21k (arXiv 2106.10270), MAE's weights there, MoCo v3 (arXiv 2104.02057).
import { constantLike, slice, type Params } from '../../../dsl/index.ts';
import { geluOf } from '../../configs/activation.ts';
import type { ConfigReader } from '../../configs/config-reader.ts';
import { encodeVit, normedBy, type Backbone, type BackboneType } from '../backbone.ts';
import { behind, patchTokens, tableRows, without } from '../hub-layer.ts';
import { sinCosTable } from '../positions.ts';
import { gridOf, rootOf } from '../tower.ts';
import { geluMlp, positionRows, positionsFor, type BlockParts, type VitConfig } from '../vit.ts';

/** Fields of timm's constructor, in `model_args`. */
export function timmSizes(config: ConfigReader): VitConfig {
  const args = config.inner('model_args') ?? config;
  const width = args.count('embed_dim', 768);
  return {
    width,
    layers: args.count('depth', 12),
    heads: args.count('num_heads', 12),
    hidden: Math.trunc(width * args.number('mlp_ratio', 4)),
    image: args.count('img_size', 224),
    patch: args.count('patch_size', 16),
    eps: config.number('norm_eps', 1e-6),
  };
}

/** Where timm's block keeps what all of its transformers have. */
export function timmBlock(p: Params): Omit<BlockParts, 'mlp'> {
  return { norm1: p.at('norm1'), qkv: p.at('attn', 'qkv'), out: p.at('attn', 'proj'), norm2: p.at('norm2') };
}

function backbone(read: ConfigReader, roots: readonly string[]): Backbone {
  const config = timmSizes(read);
  const activation = geluOf(read, 'gelu');
  const { width: c, patch, eps } = config;
  const n = positionRows(config, 1);
  const side = Math.floor(config.image / patch);
  return {
    width: c,
    encode: (p, pixels) => {
      const root = rootOf(p, roots, 'pos_embed');
      const grid = gridOf(pixels, patch);
      const positions = positionsFor(tableRows(root, 'pos_embed', { n, c }), {
        classTokens: 1,
        grid,
        picture: [pixels.size('h'), pixels.size('w')],
        by: 'antialias',
      });
      const first = tableRows(root, 'cls_token', { n: 1, c }).add(slice(positions, 'n', { size: 1 }));
      const patches = patchTokens(root.at('patch_embed', 'proj'), pixels, { patch, size: c });
      const encoded = encodeVit({
        grid,
        classTokens: 1,
        embeddings: behind([first], patches.add(slice(positions, 'n', { start: 1 }))),
        config,
        block: (i) => {
          const at = root.at('blocks', i);
          const mlp = { up: at.at('mlp', 'fc1'), down: at.at('mlp', 'fc2') };
          return { ...timmBlock(at), mlp: (x) => geluMlp(mlp, x, config.hidden, activation) };
        },
        norm: normedBy(root.at('norm'), eps),
      });
      return {
        ...encoded,
        features: without(encoded.last, 1),
        named: {
          sincos: () => constantLike(pixels, sinCosTable([side, side], c, 'row', true), 'n c', { n, c }, 'f32'),
        },
      };
    },
  };
}

export const timmVit: BackboneType = {
  kind: 'timm-vit',
  types: ['vit_base_patch16_224', 'vit_large_patch16_224', 'vit_huge_patch14_224'],
  unread: ['head', 'fc_norm'],
  read: (config) => backbone(config, ['']),
};

export const moco: BackboneType = {
  kind: 'moco-vit',
  types: ['moco_v3_vit'],
  unread: ['module.momentum_encoder', 'module.predictor', 'module.base_encoder.head', 'head'],
  read: (config) => backbone(config, ['module.base_encoder', 'base_encoder', '']),
};
