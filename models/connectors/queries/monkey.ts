// Monkey: windows of a large picture and the whole of it, each through the same Qwen-VL resampler.
import { gridResampler, postProjected, type GridResamplerConfig } from '../../parts/grid-resampler.ts';
import { sidesNear } from '../../parts/token-budgets.ts';
import { connector } from '../connector.ts';
import { joinTokens, tokensOfQueries } from '../visual-tokens.ts';

export interface MonkeyConfig extends GridResamplerConfig {
  /** Where the resampler's parameters stand. */
  readonly path: '' | 'attn_pool';
  /** Whether the norm and the matrix follow that stand beside the resampler. */
  readonly post: boolean;
}

const config = {
  eps: 1e-6,
  positions: 'queries and keys',
  side: 16,
  heads: 32,
  size: 4096,
  path: 'attn_pool',
} as const;

/** One map for each window and one for the whole picture, in the order of the prompt. */
export const monkey = connector<MonkeyConfig>({
  name: 'monkey',
  title: 'Monkey shared resampler',
  paper: 'arXiv 2311.06607',
  year: 2023,
  source: 'Yuliang-Liu/Monkey monkey_model/visual.py Resampler',
  mathematics: [
    'for every window x: k = LN(x W), q = LN(Q)',
    'y = LN(MHA(q + P, k + P′, k)) W_p',
    'tokens: windows one after the other, then the whole picture',
  ],
  towers: 'views',
  presets: {
    'monkey-7b': {
      config: { ...config, eps: 1e-5, post: true },
      maps: Array.from({ length: 7 }, () => [32, 32, 1664] as const),
      width: 4096,
    },
  },
  variants: (from, tokens, maps) => sidesNear(tokens / maps.length).map((side) => ({ ...from, side })),
  build: (p, maps, { path, post, ...options }) =>
    joinTokens(
      maps.map((map) => {
        const read = gridResampler(path === '' ? p : p.at(path), map, options);
        return tokensOfQueries(post ? postProjected(p, read, options.eps) : read);
      }),
    ),
});
