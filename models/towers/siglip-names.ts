// Where checkpoints keep SigLIP's parts: the names of timm and open_clip, or of Hugging Face's SiglipVisionModel.
import { slice, type Float, type Params, type Tensor } from '../../dsl/index.ts';
import { hubBlock, type BlockPlaces } from './hub-block.ts';
import type { PoolingHead, Projection } from './siglip-head.ts';
import { rootOf } from './tower.ts';

/** Where a checkpoint keeps the parts of the tower. */
export interface SiglipNames {
  readonly patches: Params;
  readonly positions: (sizes: { readonly n: number; readonly c: number }) => Tensor<'n c', Float>;
  readonly block: (index: number) => BlockPlaces;
  readonly norm: Params;
  readonly head: PoolingHead;
}

/** open_clip's trunk in a full model, a trunk by itself; Hugging Face with and without its prefix. */
export const timmRoots = ['visual.trunk', 'trunk', ''] as const;
export const hubRoots = ['vision_model', ''] as const;

/** Prefixes of what a full checkpoint holds besides the features that a connector reads: the pooling head, and the text's tower. */
export const siglipUnread = [
  'visual.trunk.attn_pool',
  'trunk.attn_pool',
  'attn_pool',
  'text',
  'vision_model.head',
  'head',
  'vision_model.embeddings.position_ids',
  'embeddings.position_ids',
  'text_model',
  'logit_scale',
  'logit_bias',
];

export function siglipNames(p: Params): SiglipNames {
  const timm = rootOf(p, timmRoots, 'pos_embed');
  return timm.has('pos_embed')
    ? timmNames(timm)
    : hubNames(rootOf(p, hubRoots, 'embeddings.position_embedding.weight'));
}

function timmNames(p: Params): SiglipNames {
  const pool = p.at('attn_pool');
  return {
    patches: p.at('patch_embed', 'proj'),
    positions: (sizes) => p.get('pos_embed', 'one n c', { one: 1, ...sizes }).at('one', 0),
    block: (i) => {
      const at = p.at('blocks', i);
      return {
        norm1: at.at('norm1'),
        qkv: at.at('attn', 'qkv'),
        out: at.at('attn', 'proj'),
        norm2: at.at('norm2'),
        up: at.at('mlp', 'fc1'),
        down: at.at('mlp', 'fc2'),
      };
    },
    norm: p.at('norm'),
    head: {
      probe: (c) => vector(pool, 'latent', c),
      weights: (c) => {
        const query = { weight: pool.get('q.weight', 'o c', { o: c, c }), bias: pool.get('q.bias', 'o', { o: c }) };
        const both = {
          weight: pool.get('kv.weight', 'o c', { o: 2 * c, c }),
          bias: pool.get('kv.bias', 'o', { o: 2 * c }),
        };
        return { query, key: rows(both, 0, c), value: rows(both, 1, c) };
      },
      out: pool.at('proj'),
      norm: pool.at('norm'),
      up: pool.at('mlp', 'fc1'),
      down: pool.at('mlp', 'fc2'),
    },
  };
}

/** The names of transformers, below `p`. */
export function hubNames(p: Params): SiglipNames {
  const at = p.at('embeddings');
  const head = p.at('head');
  return {
    patches: at.at('patch_embedding'),
    positions: (sizes) => at.get('position_embedding.weight', 'n c', sizes),
    block: (i) => hubBlock(p.at('encoder', 'layers', i)),
    norm: p.at('post_layernorm'),
    head: {
      probe: (c) => vector(head, 'probe', c),
      weights: (c) => {
        const all = {
          weight: head.get('attention.in_proj_weight', 'o c', { o: 3 * c, c }),
          bias: head.get('attention.in_proj_bias', 'o', { o: 3 * c }),
        };
        return { query: rows(all, 0, c), key: rows(all, 1, c), value: rows(all, 2, c) };
      },
      out: head.at('attention', 'out_proj'),
      norm: head.at('layernorm'),
      up: head.at('mlp', 'fc1'),
      down: head.at('mlp', 'fc2'),
    },
  };
}

function vector(p: Params, name: string, c: number): Tensor<'c', Float> {
  return p.get(name, 'one n c', { one: 1, n: 1, c }).at('one', 0).at('n', 0);
}

function rows({ weight, bias }: Projection, part: number, size: number): Projection {
  return {
    weight: slice(weight, 'o', { start: part * size, size }),
    bias: slice(bias, 'o', { start: part * size, size }),
  };
}
