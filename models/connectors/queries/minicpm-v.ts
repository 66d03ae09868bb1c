// MiniCPM-V 2.5, 2.6 and MiniCPM-o: the resampler of LLaVA-UHD with positions computed for each slice's own grid, not resized.
import { layerNorm, repeat, type Params } from '../../../dsl/index.ts';
import { packedAttention } from '../../parts/attention.ts';
import { gridSines, normedTokens, postProjected } from '../../parts/grid-resampler.ts';
import type { FeatureMap, Queries } from '../../sequence/regions.ts';
import { connector } from '../connector.ts';
import { joinTokens, tokensOfQueries } from '../visual-tokens.ts';

export interface MiniCpmVConfig {
  readonly queries: number;
  readonly heads: number;
  readonly eps: number;
}

/** One map for each slice, of its own rows and columns, and one for the whole picture. */
export const miniCpmV = connector<MiniCpmVConfig>({
  name: 'minicpm-v',
  title: 'MiniCPM-V 2.5 and 2.6 resampler',
  paper: 'arXiv 2408.01800',
  year: 2024,
  source: 'openbmb/MiniCPM-Llama3-V-2_5 resampler.py Resampler; Blaizzy/mlx-vlm mlx_vlm/models/minicpmo/minicpmo.py',
  mathematics: ['k = LN(x W), q = LN(Q)', 'r = MHA(q, k + P, k),  P: sines of the slice’s own grid', 'y = LN(r) W_p'],
  towers: 'views',
  presets: {
    'minicpm-llama3-v-2.5': {
      config: { queries: 96, heads: 32, eps: 1e-6 },
      maps: Array.from({ length: 5 }, () => [32, 32, 1152] as const),
      width: 4096,
    },
    'minicpm-v-2.6': {
      config: { queries: 64, heads: 28, eps: 1e-6 },
      maps: Array.from({ length: 5 }, () => [32, 32, 1152] as const),
      width: 3584,
    },
  },
  variants: (config, tokens, maps) => [{ ...config, queries: Math.max(1, Math.round(tokens / maps.length)) }],
  build: (p, maps, config, { width }) =>
    joinTokens(maps.map((map) => tokensOfQueries(resampled(p, map, config, width)))),
});

function resampled(p: Params, map: FeatureMap, config: MiniCpmVConfig, width: number | undefined): Queries {
  const { queries, heads, eps } = config;
  const learned = p.get('query', 'q c', { q: queries, ...(width === undefined ? {} : { c: width }) });
  const size = learned.size('c');
  const query = repeat(layerNorm(p.at('ln_q'), learned, { eps }), 'q c -> b q c', { b: map.sizeOf('b') });
  const value = normedTokens(p, map, size, eps);
  const key = value.add(gridSines(map, map.size('h'), map.size('w'), size));
  return postProjected(p, packedAttention(p.at('attn'), query, key, value, { heads }), eps);
}
