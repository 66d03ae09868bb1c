// Qwen-VL: learned queries on a grid attend to the picture once, with sine positions on both sides.
import { gridResampler, postProjected, type GridResamplerConfig } from '../../parts/grid-resampler.ts';
import { sidesNear } from '../../parts/token-budgets.ts';
import { connector, onlyMap } from '../connector.ts';
import { tokensOfQueries } from '../visual-tokens.ts';

export interface QwenVlConfig extends GridResamplerConfig {
  /** Where the resampler's parameters stand; the norm and the matrix behind it stand beside. */
  readonly path: '' | 'attn_pool';
}

const attention = { eps: 1e-6, positions: 'queries and keys' } as const;

export const qwenVl = connector<QwenVlConfig>({
  name: 'qwen-vl',
  title: 'Qwen-VL resampler',
  paper: 'arXiv 2308.12966',
  year: 2023,
  source: 'OpenBMB/MiniCPM-V omnilmm/model/resampler.py Resampler',
  mathematics: [
    'k = LN(x W), q = LN(Q)',
    'r = MHA(q + P, k + P′, k),  P: sines of the grid, P′: P resized',
    'y = LN(r) W_p',
  ],
  towers: 'one',
  presets: {
    'qwen-vl-7b': {
      config: { ...attention, side: 16, heads: 32, size: 4096, path: 'attn_pool' },
      maps: [[32, 32, 1664]],
      width: 4096,
    },
    'omnilmm-12b': {
      config: { ...attention, side: 8, heads: 32, size: 4096, path: '' },
      maps: [[32, 32, 1792]],
      width: 4096,
    },
  },
  variants: (config, tokens) => sidesNear(tokens).map((side) => ({ ...config, side })),
  build: (p, maps, config) => {
    const read = gridResampler(config.path === '' ? p : p.at(config.path), onlyMap(maps), config);
    return tokensOfQueries(postProjected(p, read, config.eps));
  },
});
