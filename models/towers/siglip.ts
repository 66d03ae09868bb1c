// SigLIP's vision transformer (arXiv 2303.15343), with the names of timm and open_clip, or of Hugging Face's SiglipVisionModel.
import {
  attention,
  einsum,
  gelu,
  layerNorm,
  linear,
  rearrange,
  repeat,
  slice,
  type Float,
  type Params,
  type Tensor,
} from '../../dsl/index.ts';
import { geluOf, type Gelu } from '../configs/activation.ts';
import type { ConfigReader } from '../configs/config-reader.ts';
import type { FeatureMap } from '../sequence/regions.ts';
import { hubBlock, hubBlockShapes, type BlockPlaces } from './hub-block.ts';
import { affineShapes, mlpShapes, normShapes, repeated, under, type Shapes } from '../configs/param-shapes.ts';
import { clipMean, gridOf, patchConv, rootOf, type Pixels, type PixelNorm } from './tower.ts';
import {
  embed,
  geluMlp,
  positionRows,
  positionsFor,
  tappedMap,
  throughBlocks,
  type Encoded,
  type TapOptions,
  type Tokens,
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
    width: read.number('hidden_size', 768),
    layers: read.number('num_hidden_layers', 12),
    heads: read.number('num_attention_heads', 12),
    hidden: read.number('intermediate_size', 3072),
    image: read.number('image_size', 224),
    patch: read.number('patch_size', 16),
    eps: read.number('layer_norm_eps', 1e-6),
    activation: geluOf(read, 'gelu_pytorch_tanh'),
  };
}

// ---- names -----------------------------------------------------------------------------------------------------------

/** Where a checkpoint keeps the parts of the tower. */
interface Names {
  readonly patches: Params;
  readonly positions: (sizes: { readonly n: number; readonly c: number }) => Tensor<'n c', Float>;
  readonly block: (index: number) => BlockPlaces;
  readonly norm: Params;
  readonly head: Head;
}

/** The pooling head: a learned probe attends to all tokens. */
interface Head {
  readonly probe: (c: number) => Tensor<'c', Float>;
  readonly weights: (c: number) => Weights;
  readonly out: Params;
  readonly norm: Params;
  readonly up: Params;
  readonly down: Params;
}

interface Projection {
  readonly weight: Tensor<'o c', Float>;
  readonly bias: Tensor<'o', Float>;
}

type Weights = Readonly<Record<'query' | 'key' | 'value', Projection>>;

/** open_clip's trunk in a full model, a trunk by itself; Hugging Face with and without its prefix. */
const timmRoots = ['visual.trunk', 'trunk', ''] as const;
const hubRoots = ['vision_model', ''] as const;

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

function namesOf(p: Params): Names {
  const timm = rootOf(p, timmRoots, 'pos_embed');
  return timm.has('pos_embed')
    ? timmNames(timm)
    : hubNames(rootOf(p, hubRoots, 'embeddings.position_embedding.weight'));
}

function timmNames(p: Params): Names {
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
export function hubNames(p: Params): Names {
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

// ---- the tower -------------------------------------------------------------------------------------------------------

export interface SiglipEncoded extends Encoded {
  /** What the pooling head reads; Cambrian-1 does not use it. */
  readonly pooled: () => Tensor<'b c', Float>;
}

/** All of the tower; what is not used of it costs nothing. No class token; `last` is normalised. */
export function siglipVision(p: Params, pixels: Pixels, config: SiglipConfig): SiglipEncoded {
  const names = namesOf(p);
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

/** a = attention(probe, tokens); a + mlp(norm a). `mask`: tokens that the probe may see. */
export function poolingHead(
  head: Head,
  tokens: Tokens,
  config: SiglipConfig,
  mask?: Tensor<'b t', 'bool'>,
): Tensor<'b c', Float> {
  const { width, heads, eps, hidden, activation = 'exact' } = config;
  const weights = head.weights(width);
  const query = einsum(head.probe(width), weights.query.weight, 'c, o c -> o').add(weights.query.bias);
  const probe = repeat(query, '(h d) -> b h d', { h: heads, b: tokens.sizeOf('b') });
  const read = ({ weight, bias }: Projection) =>
    rearrange(einsum(tokens, weight, 'b n c, o c -> b n o').add(bias), 'b n (h d) -> b t=(n) h d', { h: heads });
  const attended = attention(probe, read(weights.key), read(weights.value), { key: 't', along: 'd', mask });
  const a = linear(head.out, rearrange(attended, 'b h d -> b c=(h d)'), 'c', { size: width });
  const normed = layerNorm(head.norm, a, { eps });
  return a.add(
    linear(head.down, gelu(linear(head.up, normed, 'f', { size: hidden }), activation), 'c', { size: width }),
  );
}

/**
 * The map that a connector reads. Cambrian-1 takes the last hidden state after the final norm.
 * @example const map = siglipFeatures(t.params, pixels, config) // Tensor<'b h w c'>
 */
export function siglipFeatures(p: Params, pixels: Pixels, config: SiglipConfig, options: TapOptions = {}): FeatureMap {
  const { layer = -1, norm = true, grid } = options;
  return tappedMap(siglipVision(p, pixels, config), { layer, norm, grid }, namesOf(p).norm, config.eps);
}

// ---- shapes ----------------------------------------------------------------------------------------------------------

/** Shapes by path with timm's names below open_clip's trunk, or with Hugging Face's. */
export function siglipShapes(config: SiglipConfig, names: 'timm' | 'hub' = 'timm'): Shapes {
  return new Map(names === 'timm' ? under(timmRoots[0], timmShapes(config)) : under(hubRoots[0], hubShapes(config)));
}

function timmShapes(config: SiglipConfig): ReturnType<typeof under> {
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

function hubShapes(config: SiglipConfig): ReturnType<typeof under> {
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
