// LLaVA-NeXT-Video and LLaVA-OneVision's frames: an MLP, then the grid of each frame pooled by 2.
import { avgPool2d, maxPool2d, resize } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import type { FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface FramePoolConfig {
  readonly mode: 'average' | 'max' | 'bilinear';
  readonly stride: number;
}

export const llavaVideo = connector<FramePoolConfig>({
  name: 'llava-video',
  title: 'LLaVA-OneVision frame pooling',
  paper: 'arXiv 2408.03326',
  year: 2024,
  source: 'LLaVA-VL/LLaVA-NeXT llava/model/llava_arch.py get_2dPool',
  mathematics: ['u = W₂ gelu(W₁ x)', 'y = average, maximum or bilinear samples of u, 1 / stride a side'],
  towers: 'one',
  presets: {
    'llava-onevision-7b-frame': { config: { mode: 'bilinear', stride: 2 }, maps: [[27, 27, 1152]], width: 3584 },
    'llava-next-video-7b': { config: { mode: 'average', stride: 2 }, maps: [[24, 24, 1024]], width: 4096 },
  },
  variants: (config) => [1, 2, 3, 4, 6, 8].map((stride) => ({ ...config, stride })),
  build: (p, maps, config, { width }) =>
    mapTokens(pooledFrame(mlp(p.at('mm_projector'), onlyMap(maps), { linears: [0, 2], width }), config)),
});

/** `average` and `max` drop what is left over at the end, `bilinear` resizes to the grid rounded up. */
export function pooledFrame(map: FeatureMap, { mode, stride }: FramePoolConfig): FeatureMap {
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
