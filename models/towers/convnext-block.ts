// One block of ConvNeXt (arXiv 2201.03545): a depthwise convolution and an MLP.
import type { Gelu } from '../configs/activation.ts';
import { conv2d, gelu, layerNorm, linear, type Params } from '../../dsl/index.ts';
import type { FeatureMap } from '../sequence/regions.ts';

export interface ConvNextConfig {
  /** Blocks and channels of each stage. */
  readonly depths: readonly number[];
  readonly widths: readonly number[];
  /** Side of the stem's patches; later stages halve the map. */
  readonly stem: number;
  /** Side of the depthwise kernels. */
  readonly kernel: number;
  /** Width inside an MLP over that of its stage. */
  readonly ratio: number;
  /** 1e-5 in OpenCLIP's models; timm's default is 1e-6. */
  readonly eps: number;
  readonly activation: Gelu;
}

/** Where a block keeps its parts, by timm's names and by those of transformers. */
export interface ConvNextNames {
  readonly depthwise: string;
  readonly norm: string;
  readonly up: readonly string[];
  readonly down: readonly string[];
}
const timmBlockNames: ConvNextNames = { depthwise: 'conv_dw', norm: 'norm', up: ['mlp', 'fc1'], down: ['mlp', 'fc2'] };
export const hubBlockNames: ConvNextNames = {
  depthwise: 'depthwise_conv',
  norm: 'layer_norm',
  up: ['pointwise_conv1'],
  down: ['pointwise_conv2'],
};

/** x + gamma · W₂ gelu(W₁ norm(depthwise x)) */
export function convNextBlock(
  p: Params,
  x: FeatureMap,
  { kernel, ratio, eps, activation }: Pick<ConvNextConfig, 'kernel' | 'ratio' | 'eps' | 'activation'>,
  names = timmBlockNames,
): FeatureMap {
  const c = x.size('c');
  const padding = Math.floor(kernel / 2);
  const seen = conv2d(p.at(names.depthwise), x, { out: 'c', size: c, kernel, padding, groups: c });
  const inner = gelu(
    linear(p.at(...names.up), layerNorm(p.at(names.norm), seen, { eps }), 'f', { size: ratio * c }),
    activation,
  );
  return x.add(linear(p.at(...names.down), inner, 'c', { size: c }).mul(p.get('gamma', 'c', { c })));
}
