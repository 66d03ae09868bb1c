// DINOv2's vision transformer (arXiv 2304.07193), with the names of Hugging Face's Dinov2Model.
import { layerNorm, linear, silu, slice, type Float, type Params, type Tensor } from '../../dsl/index.ts';
import { geluOf } from '../configs/activation.ts';
import type { ConfigReader } from '../configs/config-reader.ts';
import type { FeatureMap } from '../sequence/regions.ts';
import { dinov2Roots, dinov2Witness, type Dinov2Config } from './dinov2-shapes.ts';
import { gridOf, patchConv, rootOf, type Pixels, type PixelNorm } from './tower.ts';
import {
  embed,
  geluMlp,
  positionRows,
  positionsFor,
  tappedMap,
  throughBlocks,
  type BlockParts,
  type Encoded,
  type PositionResize,
  type TapOptions,
  type Tokens,
  vitBlock,
} from './vit.ts';

export type { Dinov2Config } from './dinov2-shapes.ts';

/** facebook/dinov2-large, natively at 518 pixels: the tower of Cambrian-1's paper. */
export const dinov2Large518: Dinov2Config = {
  width: 1024,
  layers: 24,
  heads: 16,
  hidden: 4096,
  image: 518,
  patch: 14,
  eps: 1e-6,
  activation: 'exact',
};

/** facebook/dinov2-giant: the tower of the released checkpoints, which show it pictures of 378 pixels. */
export const dinov2Giant: Dinov2Config = {
  width: 1536,
  layers: 40,
  heads: 24,
  hidden: 4096,
  image: 518,
  patch: 14,
  eps: 1e-6,
  activation: 'swiglu',
};

const mean = [0.485, 0.456, 0.406] as const;
export const dinov2Pixels: PixelNorm = { side: 378, mean, std: [0.229, 0.224, 0.225], padding: mean };

/** What is absent has the default of `Dinov2Config`; `patch` is that of the class. The config does not say how positions are resized. */
export function dinov2Config(read: ConfigReader, positions?: PositionResize, patch = 14): Dinov2Config {
  const width = read.count('hidden_size', 768);
  const wide = Math.trunc(width * read.number('mlp_ratio', 4));
  const swiglu = read.flag('use_swiglu_ffn', false);
  return {
    width,
    layers: read.count('num_hidden_layers', 12),
    heads: read.count('num_attention_heads', 12),
    // Two thirds, so that three matrices cost what two did, rounded up to a multiple of 8.
    hidden: swiglu ? Math.floor((Math.trunc((wide * 2) / 3) + 7) / 8) * 8 : wide,
    image: read.count('image_size', 224),
    patch: read.count('patch_size', patch),
    eps: read.number('layer_norm_eps', 1e-6),
    activation: swiglu ? 'swiglu' : geluOf(read, 'gelu'),
    qkvBias: read.flag('qkv_bias', true),
    positions,
  };
}

export interface Dinov2Encoded extends Encoded {
  /** The class token of `last`. */
  readonly pooled: () => Tensor<'b c', Float>;
}

/** All of the tower; what is not used of it costs nothing. `last` is normalised. */
export function dinov2Vision(p: Params, pixels: Pixels, config: Dinov2Config): Dinov2Encoded {
  const root = rootOf(p, dinov2Roots, dinov2Witness);
  const { width, patch, eps } = config;
  const at = root.at('embeddings');
  const grid = gridOf(pixels, patch);
  const table = at.get('position_embeddings', 'one n c', { one: 1, n: positionRows(config, 1), c: width }).at('one', 0);
  const positions = positionsFor(table, {
    classTokens: 1,
    grid,
    picture: [pixels.size('h'), pixels.size('w')],
    by: config.positions ?? { offset: 0.1 },
  });
  const patches = patchConv(at.at('patch_embeddings', 'projection'), pixels, { patch, size: width });
  const embeddings = embed(
    patches,
    positions,
    at.get('cls_token', 'one n c', { one: 1, n: 1, c: width }).at('one', 0).at('n', 0),
  );
  const hidden = throughBlocks(embeddings, config.layers, (x, i) =>
    vitBlock(dinov2Block(root.at('encoder', 'layer', i), config), x, config),
  );
  const last = layerNorm(root.at('layernorm'), hidden.at(-1) ?? embeddings, { eps });
  return { grid, classTokens: 1, positions, embeddings, hidden, last, pooled: () => last.at('n', 0) };
}

/** Where block `p` keeps its parts. */
export function dinov2Block(p: Params, config: Dinov2Config): BlockParts {
  const attention = p.at('attention', 'attention');
  const scale = (name: string) => p.get(`${name}.lambda1`, 'c', { c: config.width });
  const { activation, hidden } = config;
  return {
    norm1: p.at('norm1'),
    qkv: { query: attention.at('query'), key: attention.at('key'), value: attention.at('value') },
    qkvBias: config.qkvBias,
    out: p.at('attention', 'output', 'dense'),
    norm2: p.at('norm2'),
    mlp: (x) =>
      activation === 'swiglu'
        ? swigluMlp(p.at('mlp'), x, hidden)
        : geluMlp({ up: p.at('mlp', 'fc1'), down: p.at('mlp', 'fc2') }, x, hidden, activation),
    scales: [scale('layer_scale1'), scale('layer_scale2')],
  };
}

/** W_out (silu(x₁) · x₂), the rows of W_in being those of x₁ and x₂ in turn (arXiv 2002.05202). */
function swigluMlp(p: Params, x: Tokens, hidden: number): Tokens {
  const both = linear(p.at('weights_in'), x, 'f', { size: 2 * hidden });
  const gate = slice(both, 'f', { size: hidden });
  const up = slice(both, 'f', { start: hidden, size: hidden });
  return linear(p.at('weights_out'), silu(gate).mul(up), 'c', { size: x.size('c') });
}

/**
 * The map that a connector reads. Cambrian-1 takes the last hidden state after the final norm.
 * @example const map = dinov2Features(t.params, pixels, config) // Tensor<'b h w c'>
 */
export function dinov2Features(p: Params, pixels: Pixels, config: Dinov2Config, options: TapOptions = {}): FeatureMap {
  const { layer = -1, norm = true, grid } = options;
  return tappedMap(
    dinov2Vision(p, pixels, config),
    { layer, norm, grid },
    rootOf(p, dinov2Roots, dinov2Witness).at('layernorm'),
    config.eps,
  );
}
