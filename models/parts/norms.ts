// Norms of feature maps along their channels, by name: which one a projector has is an attribute of it.
import { layerNorm, reduce, rmsNorm, rsqrt, type Params } from '../../dsl/index.ts';
import type { FeatureMap } from '../sequence/regions.ts';

export interface NormOptions {
  /** layer: LayerNorm. rms: RMSNorm. rms-unit: RMSNorm whose scale is 1 + weight (Gemma 3). rms-plain: RMSNorm without a scale. */
  readonly kind: 'layer' | 'rms' | 'rms-unit' | 'rms-plain';
  /** Where its parameters stand; '' is the place itself. */
  readonly path: string | number;
  readonly eps: number;
}

export function norm(p: Params, map: FeatureMap, { kind, path, eps }: NormOptions): FeatureMap {
  const own = path === '' ? p : p.at(path);
  switch (kind) {
    case 'layer':
      return layerNorm(own, map, { eps });
    case 'rms':
      return rmsNorm(own, map, { eps });
    case 'rms-plain':
      return unitRms(map, eps);
    case 'rms-unit': {
      const weight = own
        .get('weight', 'c', { c: map.size('c') })
        .cast('f32')
        .add(1);
      return unitRms(map.cast('f32'), eps).mul(weight).cast(map.dtype);
    }
    default:
      return kind satisfies never;
  }
}

/** x / √(mean x² + eps), in f32. */
function unitRms(map: FeatureMap, eps: number): FeatureMap {
  const wide = map.cast('f32');
  const square = reduce(wide.mul(wide), 'b h w c -> b h w', 'mean');
  return wide.mul(rsqrt(square.add(eps))).cast(map.dtype);
}
