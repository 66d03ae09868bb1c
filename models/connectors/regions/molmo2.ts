// Molmo 2: windows of patches, listed by their positions, attend from their mean to themselves; a gated MLP.
import { constantLike, gather, rearrange, reduce, repeat, type Params, type Tensor } from '../../../dsl/index.ts';
import { asRow, projectedAttention, tokensOf, type Sequence } from '../../parts/attention.ts';
import type { FeatureMap } from '../../sequence/regions.ts';
import { connector } from '../connector.ts';
import { joinTokens, mapTokens } from '../visual-tokens.ts';
import { molmoProjected, poolingOptions, type MolmoPooling } from './molmo.ts';

export interface Molmo2Config extends MolmoPooling {
  /** Sides of the windows: 2 in pictures, 3 in videos. */
  readonly pool: number;
  /** Whether what a window lacks at the border is left out of mean and softmax, or counts as zeros. */
  readonly masked: boolean;
}

/** Positions of the patches of each window; −1 where it has fewer. */
export type WindowTable = Tensor<'b n k', 'i32'>;

const released = { masked: true, heads: 16, keyValueHeads: 16, headSize: 72, pooled: 1152, hidden: 12288 } as const;

/** One map a crop or frame; its channels are those of two layers of the tower, side by side. */
export const molmo2 = connector<Molmo2Config>({
  name: 'molmo2',
  title: 'Molmo 2 indexed pooling',
  paper: 'https://allenai.org/blog/molmo2',
  year: 2025,
  source: 'allenai/molmo2 olmo/nn/vision_backbone.py MolmoVisionBackbone.apply_connector',
  mathematics: [
    's = patches of the window, q = mean of s',
    'r = MHA(q; s, s) over what the window has',
    'y = W₂ (silu(W₁ r) · W₃ r)',
  ],
  towers: 'views',
  presets: {
    'molmo2-8b-image': {
      config: { ...released, pool: 2 },
      maps: Array.from({ length: 5 }, () => [27, 27, 2304] as const),
      width: 4096,
    },
    'molmo2-8b-video': {
      config: { ...released, pool: 3 },
      maps: Array.from({ length: 8 }, () => [27, 27, 2304] as const),
      width: 4096,
    },
  },
  variants: (config) => [1, 2, 3, 4, 6].map((pool) => ({ ...config, pool })),
  build: (p, maps, config, { width }) =>
    joinTokens(
      maps.map((map, view) => {
        const table = gridWindows(map, config.pool);
        const rows = Math.ceil(map.size('h') / config.pool);
        const pooled = indexedPool(p, tokensOf(map), table, config);
        const cells = rearrange(pooled, 'b (h w) c -> b h w c', { h: rows });
        return mapTokens(molmoProjected(p, cells, config, width), view);
      }),
    ),
});

/** Windows of a grid, row by row; those at the right and the bottom may have fewer patches. */
function gridWindows(map: FeatureMap, pool: number): WindowTable {
  const [rows, columns] = [map.size('h'), map.size('w')];
  const [down, across] = [Math.ceil(rows / pool), Math.ceil(columns / pool)];
  const values = Array.from({ length: down * across * pool * pool }, (_, at) => {
    const [window, inside] = [Math.floor(at / (pool * pool)), at % (pool * pool)];
    const row = Math.floor(window / across) * pool + Math.floor(inside / pool);
    const column = (window % across) * pool + (inside % pool);
    return row < rows && column < columns ? row * columns + column : -1;
  });
  const table = constantLike(map, values, 'n k', { n: down * across, k: pool * pool }, 'i32');
  return repeat(table, 'n k -> b n k', { b: map.sizeOf('b') });
}

/** One vector for each window of patches `b n c`. */
export function indexedPool(p: Params, patches: Sequence, table: WindowTable, config: Molmo2Config): Sequence {
  const has = table.ge(0);
  const seen = rearrange(patches, 'b n c -> b p=(n) c');
  const windows = gather(seen, table, 'p').where(has, 0);
  const total = reduce(windows, 'b n k c -> b n c', 'sum');
  const count = reduce(has.cast(patches.dtype), 'b n k -> b n', 'sum').max(1);
  const mean = config.masked ? total.div(count) : total.mul(1 / table.size('k'));
  const query = rearrange(mean, 'b n (q c) -> b=(b n) q c', { q: 1 });
  const keys = rearrange(windows, 'b n k c -> b=(b n) n=(k) c');
  const mask = config.masked ? rearrange(has, 'b n k -> b=(b n) n=(k)') : undefined;
  const read = projectedAttention(p.at('image_pooling_2d'), query, keys, keys, { ...poolingOptions(config), mask });
  return rearrange(read, '(b n) q c -> b n c=(q c)', { n: table.size('n') });
}

/** `indexedPool` and the projector, for windows that the caller lists. */
export function indexedTokens(p: Params, patches: Sequence, table: WindowTable, config: Molmo2Config): FeatureMap {
  return molmoProjected(p, asRow(indexedPool(p, patches, table, config)), config);
}
