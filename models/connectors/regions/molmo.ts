// Molmo: squares of patches attend from their mean to themselves; a gated MLP. Padding has learned vectors.
import { rearrange, reduce, repeat, slice, type Float, type Params, type Tensor } from '../../../dsl/index.ts';
import { projectedAttention } from '../../parts/attention.ts';
import { gatedMlp } from '../../parts/mlp.ts';
import { paddedTo, spaceToDepth } from '../../parts/space-to-depth.ts';
import { cellResults, windowTokens } from '../../parts/windows.ts';
import type { FeatureMap, Queries } from '../../sequence/regions.ts';
import { connector } from '../connector.ts';
import { joinTokens, mapTokens } from '../visual-tokens.ts';

export interface MolmoPooling {
  readonly heads: number;
  readonly keyValueHeads: number;
  readonly headSize: number;
  /** Width of what the attention gives. */
  readonly pooled: number;
  /** Width inside the gated MLP. */
  readonly hidden?: number | undefined;
}

export interface MolmoConfig extends MolmoPooling {
  /** Sides of the square that becomes one token. */
  readonly pool: number;
  /** What attends: the mean of the square, or its first patch; `stack`: nothing does, its patches stand side by side. */
  readonly query: 'mean' | 'first' | 'stack';
}

/** How parts of a picture that are padding are told: by a vector each for whole and partial padding, one for whole, or one times the share that is real. */
export type MolmoPadding = 'pad_and_partial_pad' | 'pad_embed' | 'regress';

/** Names of the pooling's projections in the checkpoint. */
export const molmoNames = { query: 'wq', key: 'wk', value: 'wv', out: 'wo' } as const;
const gated = { gate: 'w1', up: 'w3', down: 'w2' } as const;

/** One map a crop, the whole picture first; its channels are those of two layers of the tower, side by side. */
export const molmo = connector<MolmoConfig>({
  name: 'molmo',
  title: 'Molmo attention pooling',
  paper: 'arXiv 2409.17146',
  year: 2024,
  source: 'allenai/molmo olmo/model.py MolmoVisionBackbone',
  mathematics: ['q = mean of the 2 × 2 square s', 'r = MHA(q; s, s)', 'y = W₂ (silu(W₁ r) · W₃ r)'],
  towers: 'views',
  presets: {
    'molmo-7b-d': {
      config: { pool: 2, query: 'mean', heads: 16, keyValueHeads: 16, headSize: 64, pooled: 1024, hidden: 18944 },
      maps: Array.from({ length: 5 }, () => [24, 24, 2048] as const),
      width: 3584,
    },
  },
  variants: (config) => [1, 2, 3, 4, 6].map((pool) => ({ ...config, pool })),
  build: (p, maps, config, { width }) =>
    joinTokens(maps.map((map, view) => mapTokens(molmoPooled(p, map, config, width), view))),
});

/** The map with the learned vectors of padding. `real`: the share of each patch that shows the picture. */
export function withPadding(p: Params, map: FeatureMap, real: Tensor<'b h w', Float>, kind: MolmoPadding): FeatureMap {
  const c = map.size('c');
  const all = real.eq(0).cast(map.dtype);
  if (kind !== 'pad_and_partial_pad') {
    const weight = kind === 'regress' ? real.max(0) : all;
    return map.add(spread(p.get('pad_embed', 'c', { c }), weight, c));
  }
  const table = p.get('pad_embed', 'k c', { k: 2, c });
  const partial = real.lt(1).and(real.ne(0)).cast(map.dtype);
  return map.add(spread(table.at('k', 0), all, c)).add(spread(table.at('k', 1), partial, c));
}

function spread(vector: Tensor<'c', Float>, weight: Tensor<'b h w', Float>, c: number): FeatureMap {
  return repeat(weight, 'b h w -> b h w c', { c }).mul(vector);
}

/** Squares pooled and projected; odd grids get zeros at the bottom and the right, which count like patches. */
export function molmoPooled(p: Params, map: FeatureMap, config: MolmoConfig, width: number | undefined): FeatureMap {
  const { pool } = config;
  const even = paddedTo(map, pool);
  if (config.query === 'stack') return molmoProjected(p, spaceToDepth(even, pool), config, width);
  const windows = windowTokens(even, pool);
  const query: Queries =
    config.query === 'first'
      ? rearrange(slice(windows, 'n', { size: 1 }), 'b n c -> b q=(n) c')
      : rearrange(reduce(windows, 'b n c -> b c', 'mean'), 'b (q c) -> b q c', { q: 1 });
  const read = projectedAttention(p.at('image_pooling_2d'), query, windows, windows, poolingOptions(config));
  const pooled = cellResults(read, even.size('h') / pool, even.size('w') / pool);
  return molmoProjected(p, pooled, config, width);
}

/** W₂ (silu(W₁ r) · W₃ r), as `image_projector`. */
export function molmoProjected(p: Params, map: FeatureMap, { hidden }: MolmoPooling, width?: number): FeatureMap {
  return gatedMlp(p.at('image_projector'), map, { ...gated, hidden, width });
}

/** Options of the pooling's attention. */
export function poolingOptions({ heads, keyValueHeads, headSize, pooled }: MolmoPooling) {
  return { names: molmoNames, bias: true, heads, keyValueHeads, inner: heads * headSize, width: pooled };
}
