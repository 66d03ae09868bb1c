// Convolution blocks that several connectors are made of.
import { conv2d, type Params } from '../../dsl/index.ts';
import type { FeatureMap } from '../sequence/regions.ts';

/** Two 3 × 3 convolutions of stride 2 without biases, nothing between them: SAM's neck with sixteen times fewer cells (GOT-OCR2, DeepSeek-OCR). */
export function samCompressor(
  p: Params,
  map: FeatureMap,
  {
    names,
    channels,
  }: { readonly names: readonly [string, string]; readonly channels?: readonly [number, number] | undefined },
): FeatureMap {
  return names.reduce<FeatureMap>((x, name, i) => {
    const size = channels?.[i];
    const step = { kernel: 3, stride: 2, padding: 1, bias: false } as const;
    return conv2d(p.at(name), x, { out: 'c', ...(size === undefined ? {} : { size }), ...step });
  }, map);
}
