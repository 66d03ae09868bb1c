// TokenPacker: each cell of a coarse grid attends to its own square of a map of several layers; no residual.
import { concat, layerNorm, linear, resize, type Params } from '../../../dsl/index.ts';
import { packedAttention } from '../../parts/attention.ts';
import { mlp } from '../../parts/mlp.ts';
import { requireSquares } from '../../parts/space-to-depth.ts';
import { cellQueries, cellResults, windowTokens } from '../../parts/windows.ts';
import type { FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap, required, type MapShape } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface TokenPackerConfig {
  /** Side of the square that becomes one token. */
  readonly scale: number;
  /** Width of queries, keys and values. */
  readonly inner: number;
  readonly heads: number;
  readonly eps: number;
  /** Hidden states of the tower that keys and values are made of. */
  readonly layers: readonly number[];
}

const released = { inner: 1024, heads: 8, eps: 1e-6, layers: [12, 16, 22, 23] } as const;
const maps: readonly MapShape[] = [[24, 24, 1024]];

export const tokenPacker = connector<TokenPackerConfig>({
  name: 'tokenpacker',
  title: 'TokenPacker',
  paper: 'arXiv 2407.02392',
  year: 2024,
  source: 'CircleRadon/TokenPacker llava/model/multimodal_projector/builder.py TokenPacker',
  mathematics: [
    'q = LN(W_q resize(x)),  m = [h₁₂ ; h₁₆ ; h₂₂ ; h₂₃],  k = LN(MLP m), v = LN(MLP m)',
    'r = MHA(q; k, v) within each s × s square',
    'y = W₂ gelu(W₁ r)',
  ],
  towers: 'one',
  presets: {
    'tokenpacker-7b-144': { config: { ...released, scale: 2 }, maps, width: 4096 },
    'tokenpacker-7b-64': { config: { ...released, scale: 3 }, maps, width: 4096 },
    'tokenpacker-7b-36': { config: { ...released, scale: 4 }, maps, width: 4096 },
  },
  variants: (config) => [1, 2, 3, 4, 6, 8, 12, 24].map((scale) => ({ ...config, scale })),
  build: (p, given, config, context) => {
    const map = onlyMap(given);
    const { scale, inner, heads, eps } = config;
    requireSquares('tokenpacker', map, scale);
    const [rows, columns] = [map.size('h') / scale, map.size('w') / scale];
    const tower = required(context, 'tower', 'tokenpacker')(0);
    const levels = concat(
      config.layers.map((layer) => tower.hidden(layer)),
      'c',
    );
    const coarse = resize(map.cast('f32'), { height: rows, width: columns, mode: 'bilinear' }).cast(map.dtype);
    const projected = linear(p.at('q_proj_1'), coarse, 'c', { size: inner, bias: false });
    const query = layerNorm(p.at('ln_q_1'), projected, { eps });
    const [key, value] = [side(p, 'k', levels, inner, eps), side(p, 'v', levels, inner, eps)];
    const [k, v] = [windowTokens(key, scale), windowTokens(value, scale)];
    const read = packedAttention(p.at('clip_attn'), cellQueries(query), k, v, { heads });
    return mapTokens(mlp(p.at('mlp'), cellResults(read, rows, columns), { linears: [0, 2], width: context.width }));
  },
});

/** LN(W₂ gelu(W₁ m)) of every cell. */
function side(p: Params, name: 'k' | 'v', levels: FeatureMap, width: number, eps: number): FeatureMap {
  return layerNorm(p.at(`ln_${name}_1`), mlp(p.at(`${name}_proj_1`), levels, { linears: [0, 2], width }), { eps });
}
