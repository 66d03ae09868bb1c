// Convolution blocks that several connectors are made of.
import {
  conv2d,
  layerNorm,
  reduce,
  repeat,
  sigmoid,
  silu,
  type Float,
  type Params,
  type Tensor,
} from '../../dsl/index.ts';
import { roundToEven } from '../../dsl/graph/elements.ts';
import type { FeatureMap } from '../sequence/regions.ts';
import { activate, type Activation } from './mlp.ts';

/** Two 3 × 3 convolutions of stride 2 without biases, nothing between them: SAM's neck with sixteen times fewer cells (GOT-OCR2, DeepSeek-OCR). */
export function samCompressor(
  p: Params,
  map: FeatureMap,
  options: { readonly names: readonly [string, string]; readonly channels?: readonly [number, number] | undefined },
): FeatureMap {
  return options.names.reduce<FeatureMap>((x, name, i) => {
    const size = options.channels?.[i];
    const step = { kernel: 3, stride: 2, padding: 1, bias: false } as const;
    return conv2d(p.at(name), x, { out: 'c', ...(size === undefined ? {} : { size }), ...step });
  }, map);
}

/** σ(x), or clamp(x/6 + 1/2, 0, 1). */
export type Gate = 'sigmoid' | 'hard-sigmoid';

export function hardSigmoid<S extends string>(x: Tensor<S, Float>): Tensor<S, Float> {
  const y: Tensor<string, Float> = x;
  return y
    .add(3)
    .max(0)
    .min(6)
    .mul(1 / 6) as Tensor<S, Float>;
}

/** Squeeze and excitation: the mean over the grid through two 1 × 1 convolutions `fc1` and `fc2` gates the channels. */
export function squeezeExcite(
  p: Params,
  map: FeatureMap,
  options: { readonly squeezed: number; readonly activation: Activation; readonly gate: Gate },
): FeatureMap {
  const mean = repeat(reduce(map, 'b h w c -> b c', 'mean'), 'b c -> b h w c', { h: 1, w: 1 });
  const inner = conv2d(p.at('fc1'), mean, { out: 'c', size: options.squeezed, kernel: 1 });
  const outer = conv2d(p.at('fc2'), activate(inner, options.activation), {
    out: 'c',
    size: map.size('c'),
    kernel: 1,
  });
  const gate = options.gate === 'sigmoid' ? sigmoid(outer) : hardSigmoid(outer);
  return map.mul(gate.at('h', 0).at('w', 0));
}

/** Eps of the norms in RegNet blocks: timm's LayerNorm over the channels of each cell. */
const regNetEps = 1e-5;

/**
 * A stage of RegNet blocks `b1`, `b2`, …, bottleneck 1, groups of one channel: 1 × 1, depthwise 3 × 3, squeeze and excitation to a
 * quarter of the block's input, 1 × 1; LayerNorm of each cell, SiLU; the first block maps its residual where the width changes.
 */
export function regStage(
  p: Params,
  map: FeatureMap,
  { depth, size }: { readonly depth: number; readonly size: number },
): FeatureMap {
  let x = map;
  for (let i = 1; i <= depth; i++) x = regBlock(p.at(`b${i}`), x, size);
  return x;
}

function regBlock(p: Params, x: FeatureMap, size: number): FeatureMap {
  const normed = (name: string, from: FeatureMap, options: { readonly kernel: number; readonly groups?: number }) => {
    const padding = (options.kernel - 1) / 2;
    const y = conv2d(p.at(name, 'conv'), from, { out: 'c', size, padding, bias: false, ...options });
    return layerNorm(p.at(name, 'bn'), y, { eps: regNetEps });
  };
  const wide = silu(normed('conv1', x, { kernel: 1 }));
  const spread = silu(normed('conv2', wide, { kernel: 3, groups: size }));
  const squeezed = roundToEven(x.size('c') / 4);
  const gated = squeezeExcite(p.at('se'), spread, { squeezed, activation: 'silu', gate: 'sigmoid' });
  const y = normed('conv3', gated, { kernel: 1 });
  return silu(y.add(x.size('c') === size ? x : normed('downsample', x, { kernel: 1 })));
}
