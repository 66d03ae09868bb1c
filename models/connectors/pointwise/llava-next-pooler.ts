// LLaVA-NeXT's pooler: a strided convolution makes one token of four, then GELU and a linear map.
import { conv2d, gelu, linear } from '../../../dsl/index.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface PoolerConfig {
  /** Side and stride of the convolution; an odd last row or column is dropped. */
  readonly kernel: number;
}

export const llavaNextPooler = connector<PoolerConfig>({
  name: 'llava-next-pooler',
  title: 'LLaVA-NeXT pooler',
  paper: 'https://llava-vl.github.io/blog/2024-01-30-llava-next/',
  year: 2024,
  source: 'LLaVA-VL/LLaVA-NeXT llava/model/multimodal_projector/pooler_projector.py',
  mathematics: ['y = W₂ gelu(conv_{k×k, stride k}(x))'],
  towers: 'one',
  presets: { pooler: { config: { kernel: 2 }, maps: [[24, 24, 1024]], width: 4096 } },
  variants: (config) => [1, 2, 3, 4, 6, 8, 12].map((kernel) => ({ ...config, kernel })),
  build: (p, maps, { kernel }, { width }) => {
    const pooled = conv2d(p.at('conv_pool'), onlyMap(maps), { out: 'c', ...sized(width), kernel, stride: kernel });
    return mapTokens(linear(p.at('proj', 1), gelu(pooled, 'exact'), 'c', { size: pooled.size('c') }));
  },
});
