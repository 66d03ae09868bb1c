// The convolution that SVA is compared with in Cambrian-1's code: a strided 3 × 3 convolution, then an MLP on a quarter of the tokens.
import { conv2d } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface CambrianConvConfig {
  /** Channels of the convolution; 1024 in the code. */
  readonly hidden: number;
  readonly stride: number;
}

export const cambrianConv = connector<CambrianConvConfig>({
  name: 'cambrian-conv',
  title: 'Cambrian-1 reduced C-Abstractor',
  paper: 'arXiv 2406.16860',
  year: 2024,
  source: 'cambrian-mllm/cambrian cambrian/model/multimodal_projector/projectors.py CAbstractor',
  mathematics: ['s = conv_{3×3, stride 2}(x)', 'y = W₂ gelu(W₁ s)'],
  towers: 'one',
  presets: { 'cambrian-conv': { config: { hidden: 1024, stride: 2 }, maps: [[24, 24, 1024]], width: 4096 } },
  variants: (config) => [1, 2, 3, 4, 6].map((stride) => ({ ...config, stride })),
  build: (p, maps, { hidden, stride }, { width }) => {
    const options = { out: 'c', size: hidden, kernel: 3, stride, padding: 1, bias: false } as const;
    const down = conv2d(p.at('downsamples'), onlyMap(maps), options);
    return mapTokens(mlp(p.at('readout'), down, { linears: [0, 2], width }));
  },
});
