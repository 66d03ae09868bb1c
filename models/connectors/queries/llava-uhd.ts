// LLaVA-UHD: slices of any aspect, each through one resampler whose keys alone know their place.
import { gridResampler, postProjected, type GridResamplerConfig } from '../../parts/grid-resampler.ts';
import { sidesNear } from '../../parts/token-budgets.ts';
import { connector } from '../connector.ts';
import { joinTokens, tokensOfQueries } from '../visual-tokens.ts';

/** One map for each slice, of its own rows and columns, and one for the whole picture. */
export const llavaUhd = connector<GridResamplerConfig>({
  name: 'llava-uhd',
  title: 'LLaVA-UHD resampler',
  paper: 'arXiv 2403.11703',
  year: 2024,
  source: 'thunlp/LLaVA-UHD llava/model/multimodal_projector/resampler.py Resampler',
  mathematics: ['k = LN(x W), q = LN(Q)', 'r = MHA(q, k + P′, k),  P′: sines resized to the slice', 'y = LN(r) W_p'],
  towers: 'views',
  presets: {
    'llava-uhd-13b': {
      config: { side: 8, heads: 40, eps: 1e-6, size: 5120, positions: 'keys' },
      maps: Array.from({ length: 7 }, () => [24, 24, 1024] as const),
      width: 5120,
    },
  },
  variants: (config, tokens, maps) => sidesNear(tokens / maps.length).map((side) => ({ ...config, side })),
  build: (p, maps, config) =>
    joinTokens(maps.map((map) => tokensOfQueries(postProjected(p, gridResampler(p, map, config), config.eps)))),
});
