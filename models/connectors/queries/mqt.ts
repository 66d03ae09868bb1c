// MQT-LLaVA: the first m of many queries; keys are positions alone, so where each query looks does not depend on the picture.
import { layerNorm, rearrange, repeat, slice, type Params } from '../../../dsl/index.ts';
import { packedAttention, tokensOf } from '../../parts/attention.ts';
import { matrixProjected, onGrid } from '../../parts/grid-resampler.ts';
import type { FeatureMap, Queries } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { tokensOfQueries } from '../visual-tokens.ts';

export interface MqtConfig {
  /** Side of the grid of all queries. */
  readonly side: number;
  /** How many of the queries are used: in training drawn anew for every step. */
  readonly tokens: number;
  readonly heads: number;
  readonly eps: number;
}

const preset = (tokens: number) => ({
  config: { side: 16, tokens, heads: 8, eps: 1e-6 },
  maps: [[24, 24, 1024]] as const,
  width: 4096,
});

export const mqt = connector<MqtConfig>({
  name: 'mqt',
  title: 'MQT-LLaVA query transformer',
  paper: 'arXiv 2405.19315',
  year: 2024,
  source: 'gordonhu608/MQT-LLaVA llava/model/multimodal_projector/builder.py Resampler',
  mathematics: [
    'q = LN(Q + P) of the first m queries',
    'r = MHA(q, LN(P′), LN(x)),  P: sines of the grid, P′: P resized',
    'y = r W_p',
  ],
  towers: 'one',
  presets: { 'mqt-llava-7b-256': preset(256), 'mqt-llava-7b-64': preset(64), 'mqt-llava-7b-16': preset(16) },
  variants: (config, tokens) => [{ ...config, tokens: Math.min(Math.max(1, Math.round(tokens)), config.side ** 2) }],
  build: (p, maps, config, { width }) =>
    tokensOfQueries(matrixProjected(p, 'proj', read(p, onlyMap(maps), config), width)),
});

function read(p: Params, map: FeatureMap, { side, tokens, heads, eps }: MqtConfig): Queries {
  const sizes = { n: side * side, c: map.size('c') };
  const table = p.get('pos_embed', 'n c', sizes);
  // Rows of the table that is not resized: with few queries, the top of the grid.
  const first = slice(p.get('query', 'n c', sizes).add(table), 'n', { size: tokens });
  const query = layerNorm(p.at('ln_q'), rearrange(first, 'n c -> q=(n) c'), { eps });
  const key = layerNorm(p.at('ln_k'), onGrid(table, side, map.size('h'), map.size('w')), { eps });
  const b = { b: map.sizeOf('b') };
  const value = layerNorm(p.at('ln_v'), tokensOf(map), { eps });
  const [queries, keys] = [repeat(query, 'q c -> b q c', b), repeat(key, 'n c -> b n c', b)];
  return packedAttention(p.at('attn'), queries, keys, value, { heads });
}
