// OpenAI CLIP's vision transformer (arXiv 2103.00020), with the names of Hugging Face's CLIPVisionModel.
import { layerNorm, type Float, type Params, type Tensor } from '../../dsl/index.ts';
import { geluOf, type Gelu } from '../configs/activation.ts';
import type { ConfigReader } from '../configs/config-reader.ts';
import type { FeatureMap } from '../sequence/regions.ts';
import { hubBlock, hubBlockShapes } from './hub-block.ts';
import { affineShapes, normShapes, repeated, under, type Shapes } from '../configs/param-shapes.ts';
import { clipMean, clipStd, gridOf, patchConv, rootOf, type Pixels, type PixelNorm } from './tower.ts';
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

export interface ClipConfig extends VitConfig {
  readonly activation: Gelu;
}

/** openai/clip-vit-large-patch14-336 */
export const clipLarge336: ClipConfig = {
  width: 1024,
  layers: 24,
  heads: 16,
  hidden: 4096,
  image: 336,
  patch: 14,
  eps: 1e-5,
  activation: 'quick',
};

export const clipPixels: PixelNorm = { side: 336, mean: clipMean, std: clipStd, padding: clipMean };

/** A `vision_config`, or the config of a vision model by itself; what is absent has the default of `CLIPVisionConfig`. */
export function clipConfig(read: ConfigReader): ClipConfig {
  return {
    width: read.count('hidden_size', 768),
    layers: read.count('num_hidden_layers', 12),
    heads: read.count('num_attention_heads', 12),
    hidden: read.count('intermediate_size', 3072),
    image: read.count('image_size', 224),
    patch: read.count('patch_size', 32),
    eps: read.number('layer_norm_eps', 1e-5),
    activation: geluOf(read, 'quick_gelu'),
  };
}

/** transformers 5 writes a vision model by itself without the prefix. */
export const clipRoots = ['vision_model', ''] as const;
const witness = 'embeddings.class_embedding';

/** Prefixes of what a full checkpoint holds besides the features that a connector reads. */
export const clipUnread = [
  ...clipRoots.flatMap((root) =>
    ['post_layernorm', 'embeddings.position_ids'].map((name) => (root === '' ? name : `${root}.${name}`)),
  ),
  'text_model',
  'visual_projection',
  'text_projection',
  'logit_scale',
];

export interface ClipEncoded extends Encoded {
  /** The class token of the last hidden state, normalised. */
  readonly pooled: () => Tensor<'b c', Float>;
}

/** All of the tower; what is not used of it costs nothing. `last` is not normalised. */
export function clipVision(p: Params, pixels: Pixels, config: ClipConfig): ClipEncoded {
  const root = rootOf(p, clipRoots, witness);
  const { width, patch, eps } = config;
  const at = root.at('embeddings');
  const grid = gridOf(pixels, patch);
  const table = at.get('position_embedding.weight', 'n c', { n: positionRows(config, 1), c: width });
  const positions = positionsFor(table, { classTokens: 1, grid, picture: [pixels.size('h'), pixels.size('w')] });
  const patches = patchConv(at.at('patch_embedding'), pixels, { patch, size: width, bias: false });
  const embeddings = embed(patches, positions, at.get('class_embedding', 'c', { c: width }));
  // The checkpoint's own spelling.
  const start = layerNorm(root.at('pre_layrnorm'), embeddings, { eps });
  const hidden = throughBlocks(start, config.layers, (x, i) => {
    const { up, down, ...parts } = hubBlock(root.at('encoder', 'layers', i));
    return vitBlock({ ...parts, mlp: (y) => geluMlp({ up, down }, y, config.hidden, config.activation) }, x, config);
  });
  const last = hidden.at(-1) ?? start;
  return {
    grid,
    classTokens: 1,
    positions,
    embeddings,
    hidden,
    last,
    pooled: () => layerNorm(root.at('post_layernorm'), last.at('n', 0), { eps }),
  };
}

/**
 * The map that a connector reads. Cambrian-1 and LLaVA take the hidden state before the last block, without a norm.
 * @example const map = clipFeatures(t.params, pixels, config) // Tensor<'b h w c'>
 */
export function clipFeatures(p: Params, pixels: Pixels, config: ClipConfig, options: TapOptions = {}): FeatureMap {
  const { layer = -2, norm = false, grid } = options;
  return tappedMap(
    clipVision(p, pixels, config),
    { layer, norm, grid },
    rootOf(p, clipRoots, witness).at('post_layernorm'),
    config.eps,
  );
}

/** Shapes by path, as the released checkpoint has them. */
export function clipShapes(config: ClipConfig, root: string = clipRoots[0]): Shapes {
  const { width: c, hidden, patch } = config;
  return new Map(
    under(root, [
      ['embeddings.class_embedding', [c]],
      ['embeddings.position_embedding.weight', [positionRows(config, 1), c]],
      ...affineShapes('embeddings.patch_embedding', [c, 3, patch, patch], false),
      ...normShapes('pre_layrnorm', c),
      ...normShapes('post_layernorm', c),
      ...repeated(config.layers, (i) => under(`encoder.layers.${i}`, hubBlockShapes(c, hidden))),
    ]),
  );
}
