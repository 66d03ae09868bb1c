// LLaVA-UHD v2: each query attends to what RoIAlign reads of its own cell of a fine map.
import { rearrange, type Params } from '../../../dsl/index.ts';
import { packedAttention, type Sequence } from '../../parts/attention.ts';
import { postProjected, resamplerInputs, type GridResamplerConfig } from '../../parts/grid-resampler.ts';
import { alignedRegions, gridBoxes, type Box } from '../../parts/roi-align.ts';
import { sidesNear } from '../../parts/token-budgets.ts';
import type { FeatureMap, Queries } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { tokensOfQueries } from '../visual-tokens.ts';

export interface LlavaUhd2Config extends Omit<GridResamplerConfig, 'positions'> {
  /** Rows and columns that are read of a cell; absent: by the cell's aspect. */
  readonly bins?: readonly [rows: number, columns: number] | undefined;
  /** Boxes of the queries, left, top, right, bottom in cells of the map; absent: a grid of equal ones. */
  readonly boxes?: readonly Box[] | undefined;
}

export const llavaUhd2 = connector<LlavaUhd2Config>({
  name: 'llava-uhd-v2',
  title: 'LLaVA-UHD v2 hierarchical window resampler',
  paper: 'arXiv 2412.13871',
  year: 2024,
  source: 'thunlp/LLaVA-UHD llava/model/multimodal_projector/uhd_v1_resampler.py AdaptSpatialResampler_v1',
  mathematics: [
    'v = LN(x W), k = v + P′',
    'r_i = MHA(LN(Q_i) + P_i; RoI_i(k), RoI_i(v)) over 3 × 3 bins of cell i',
    'y = LN(r) W_p',
  ],
  towers: 'one',
  presets: {
    'llava-uhd-v2-7b': {
      config: { side: 12, heads: 32, eps: 1e-6, size: 4096 },
      maps: [[48, 48, 1024]],
      width: 4096,
    },
  },
  variants: (config, tokens) => sidesNear(tokens).map((side) => ({ ...config, side })),
  build: (p, maps, config) => tokensOfQueries(postProjected(p, read(p, onlyMap(maps), config), config.eps)),
});

/** Rows and columns of bins. Among equally near ones the first is taken. */
const shapes: readonly (readonly [rows: number, columns: number])[] = [
  [2, 4],
  [2, 3],
  [3, 4],
  [3, 3],
  [4, 2],
  [3, 2],
  [4, 3],
];

/** The bins whose aspect is nearest to that of the map, on a logarithmic scale. */
function binsFor(rows: number, columns: number): readonly [number, number] {
  const aspect = Math.log(columns / rows);
  const distance = ([down, across]: readonly [number, number]) => Math.abs(aspect - Math.log(across / down));
  return shapes.reduce((best, shape) => (distance(shape) < distance(best) ? shape : best));
}

function read(p: Params, map: FeatureMap, config: LlavaUhd2Config): Queries {
  const { query, key, value } = resamplerInputs(p, map, { ...config, positions: 'queries and keys' });
  const [rows, columns] = [map.size('h'), map.size('w')];
  const { boxes = gridBoxes(rows, columns, config.side), bins = binsFor(rows, columns) } = config;
  const regions = (tokens: Sequence): Sequence => {
    const cells = alignedRegions(rearrange(tokens, 'b (h w) c -> b h w c', { h: rows }), boxes, bins);
    return rearrange(cells, 'b r i j c -> b=(b r) n=(i j) c');
  };
  const own = rearrange(query, 'b (n q) c -> b=(b n) q c', { q: 1 });
  const result = packedAttention(p.at('attn'), own, regions(key), regions(value), config);
  return rearrange(result, '(b n) q c -> b q=(n q) c', { n: boxes.length });
}
