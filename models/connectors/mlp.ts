// The connectors of the LLaVA family: an MLP on every token of one tower, alone or with residual blocks, pooling or merging around it.
import {
  avgPool2d,
  conv2d,
  gelu,
  layerNorm,
  linear,
  maxPool2d,
  OpabiniaError,
  pixelUnshuffle,
  rearrange,
  resize,
  rmsNorm,
  type Float,
  type Params,
  type Tensor,
} from '../../dsl/index.ts';
import { baselineConnector, mlp, type ProjectorConfig } from './baselines.ts';
import { sized, type FeatureMap } from '../sequence/regions.ts';

type Tokens = Tensor<'b n c', Float>;

export interface TwoLayerConfig extends ProjectorConfig {
  readonly bias?: boolean | undefined;
}

/** Linear, GELU, Linear, with the names of transformers: `linear_1` and `linear_2`. */
export function twoLayerProjector(p: Params, x: Tokens, { width, bias = true }: TwoLayerConfig = {}): Tokens {
  const up = gelu(linear(p.at('linear_1'), x, 'c', { ...sized(width), bias }), 'exact');
  return linear(p.at('linear_2'), up, 'c', { size: up.size('c'), bias });
}

/**
 * The connector called `type` in LLaVA's and LLaVA-NeXT's `mm_projector_type`, with their names: `linear`, `mlpNx_gelu`,
 * `mlpNx_resMx_gelu`, `identity`. Throws `OpabiniaError` for another.
 */
export function llavaConnector(type: string, p: Params, x: Tokens, config: ProjectorConfig = {}): Tokens {
  const [, layers, blocks] = /^mlp([1-9]\d*)x_res([1-9]\d*)x_gelu$/.exec(type) ?? [];
  if (layers !== undefined && blocks !== undefined) return mlpWithBlocks(p, x, Number(layers), Number(blocks), config);
  if (type === 'linear' || type === 'identity' || /^mlp[1-9]\d*x_gelu$/.test(type))
    return baselineConnector(type, p, x, config);
  throw new OpabiniaError(`there is no connector '${type}'`, {
    op: 'llavaConnector',
    path: p.path,
    advice: 'linear, mlpNx_gelu, mlpNx_resMx_gelu or identity',
  });
}

function mlpWithBlocks(p: Params, x: Tokens, layers: number, blocks: number, config: ProjectorConfig): Tokens {
  let out = mlp(p, x, layers, config);
  // Behind N linear maps and the N − 1 activations between them.
  for (let j = 0; j < blocks; j++) out = residualBlock(p.at(2 * layers - 1 + j), out);
  return out;
}

/** y = LN(x), then y + MLP(y): the residual carries the normed value (SimpleResBlock of LLaVA-NeXT). */
function residualBlock(p: Params, x: Tokens): Tokens {
  const y = layerNorm(p.at('pre_norm'), x, { eps: 1e-5 });
  const size = y.size('c');
  return y.add(linear(p.at('proj', 2), gelu(linear(p.at('proj', 0), y, 'c', { size }), 'exact'), 'c', { size }));
}

/** LLaVA-NeXT's `pooler`: a 2 × 2 convolution of stride 2, GELU, Linear. An odd last row or column is dropped. */
export function poolerProjector(p: Params, map: FeatureMap, config: ProjectorConfig = {}): Tokens {
  const pooled = conv2d(p.at('conv_pool'), map, { out: 'c', ...sized(config.width), kernel: 2, stride: 2 });
  return linear(p.at('proj', 1), gelu(rearrange(pooled, 'b h w c -> b n=(h w) c'), 'exact'), 'c', {
    size: pooled.size('c'),
  });
}

/**
 * LLaVA-NeXT-Video's pooling of each frame's map. `average` and `max` drop what is left over at the end, `bilinear` resizes to the
 * grid rounded up.
 */
export function poolMap(map: FeatureMap, mode: 'average' | 'max' | 'bilinear', stride: number): FeatureMap {
  switch (mode) {
    case 'average':
      return avgPool2d(map, { kernel: stride, stride });
    case 'max':
      return maxPool2d(map, { kernel: stride, stride });
    case 'bilinear':
      return resize(map, { height: Math.ceil(map.size('h') / stride), width: Math.ceil(map.size('w') / stride), mode });
    default:
      return mode satisfies never;
  }
}

/** ViP-LLaVA: several layers of the tower side by side, a LayerNorm, the two-layer MLP. */
export function normedProjector(
  p: Params,
  x: Tokens,
  config: TwoLayerConfig & { readonly eps?: number | undefined } = {},
): Tokens {
  return twoLayerProjector(p, layerNorm(p.at('projector_layernorm'), x, { eps: config.eps ?? 1e-5 }), config);
}

export interface MergeConfig extends TwoLayerConfig {
  /** Side of the square of patches that becomes one token. */
  readonly merge: number;
  readonly eps: number;
}

/** Mistral 3: RMSNorm of each patch, squares of patches merged by one matrix (channel, row, column), the two-layer MLP. */
export function mergingProjector(p: Params, map: FeatureMap, config: MergeConfig): Tokens {
  const normed = rmsNorm(p.at('norm'), map, { eps: config.eps });
  const merged = linear(p.at('patch_merger', 'merging_layer'), pixelUnshuffle(normed, config.merge), 'c', {
    size: map.size('c'),
    bias: false,
  });
  return twoLayerProjector(p, rearrange(merged, 'b h w c -> b n=(h w) c'), config);
}
