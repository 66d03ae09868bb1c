// Shapes of SigLIP's parameters, by either names.
import { affineShapes, mlpShapes, normShapes, repeated, under, type Shapes } from '../configs/param-shapes.ts';
import { hubBlockShapes } from './hub-block.ts';
import { hubRoots, timmRoots } from './siglip-names.ts';
import { positionRows, type VitConfig } from './vit.ts';

/** Shapes by path with timm's names below open_clip's trunk, or with Hugging Face's. */
export function siglipShapes(config: VitConfig, names: 'timm' | 'hub' = 'timm'): Shapes {
  return new Map(names === 'timm' ? under(timmRoots[0], timmShapes(config)) : under(hubRoots[0], hubShapes(config)));
}

function timmShapes(config: VitConfig): ReturnType<typeof under> {
  const { width: c, hidden, patch } = config;
  return [
    ['pos_embed', [1, positionRows(config, 0), c]],
    ...affineShapes('patch_embed.proj', [c, 3, patch, patch]),
    ...normShapes('norm', c),
    ...repeated(config.layers, (i) =>
      under(`blocks.${i}`, [
        ...normShapes('norm1', c),
        ...normShapes('norm2', c),
        ...affineShapes('attn.qkv', [3 * c, c]),
        ...affineShapes('attn.proj', [c, c]),
        ...mlpShapes('mlp', c, hidden),
      ]),
    ),
    ...under('attn_pool', [
      ['latent', [1, 1, c]],
      ...affineShapes('q', [c, c]),
      ...affineShapes('kv', [2 * c, c]),
      ...affineShapes('proj', [c, c]),
      ...normShapes('norm', c),
      ...mlpShapes('mlp', c, hidden),
    ]),
  ];
}

function hubShapes(config: VitConfig): ReturnType<typeof under> {
  const { width: c, hidden, patch } = config;
  return [
    ['embeddings.position_embedding.weight', [positionRows(config, 0), c]],
    ...affineShapes('embeddings.patch_embedding', [c, 3, patch, patch]),
    ...normShapes('post_layernorm', c),
    ...repeated(config.layers, (i) => under(`encoder.layers.${i}`, hubBlockShapes(c, hidden))),
    ...under('head', [
      ['probe', [1, 1, c]],
      ['attention.in_proj_weight', [3 * c, c]],
      ['attention.in_proj_bias', [3 * c]],
      ...affineShapes('attention.out_proj', [c, c]),
      ...normShapes('layernorm', c),
      ...mlpShapes('mlp', c, hidden),
    ]),
  ];
}
