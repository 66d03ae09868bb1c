// Connectors that every comparison by training has beside those that are asked for: pooling, a plain resampler, and the labels themselves.
import {
  concat,
  gelu,
  layerNorm,
  linear,
  rearrange,
  reduce,
  repeat,
  type Float,
  type Params,
  type Tensor,
} from '../../../dsl/index.ts';
import { connector, type Connector } from '../../../models/connectors/connector.ts';
import { gridTokens, mapTokens, tokensOfQueries } from '../../../models/connectors/visual-tokens.ts';
import { headAttention } from '../../../models/parts/attention.ts';
import { regionsOf, type FeatureMap } from '../../../models/sequence/regions.ts';

export interface PoolingConfig {
  readonly side: number;
}

/** Every map brought to one grid, channels side by side, an MLP. `onGrid`: a map on side × side. */
export function sideBySide(
  about: Pick<Connector<PoolingConfig>, 'name' | 'title' | 'paper' | 'year' | 'source' | 'mathematics'>,
  onGrid: (map: FeatureMap, side: number) => FeatureMap,
): Connector<PoolingConfig> {
  return connector<PoolingConfig>({
    ...about,
    towers: 'many',
    presets: {
      plain: {
        config: { side: 4 },
        maps: [
          [8, 8, 48],
          [16, 16, 24],
        ],
        width: 48,
      },
    },
    variants: (config, tokens) => [{ ...config, side: Math.max(1, Math.round(Math.sqrt(tokens))) }],
    build: (p, maps, { side }, { width = 48 }) => {
      const same = maps.map((map) => onGrid(map, side));
      const inner = gelu(linear(p.at('fc1'), concat(same, 'c'), 'f', { size: 2 * width }));
      return gridTokens(linear(p.at('fc2'), inner, 'e', { size: width }));
    },
  });
}

/** The mean of each cell of a grid, of every map, side by side; an MLP. */
export const averagePooling = sideBySide(
  {
    name: 'average-pooling',
    title: 'Average pooling',
    paper: 'arXiv 2405.20985',
    year: 2024,
    source: 'the baseline of DeCo, on several maps',
    mathematics: ['y = W₂ gelu(W₁ [mean of the cell in x₀ ; in x₁ ; …])'],
  },
  (map, side) =>
    rearrange(reduce(regionsOf(map, side), 'b q t c -> b q c', 'mean'), 'b (h w) c -> b h w c', { h: side }),
);

interface ResamplerConfig {
  readonly queries: number;
  readonly layers: number;
  readonly heads: number;
}

/** Learned queries that attend to all tokens of all maps, each token with a learned place. */
export const plainResampler = connector<ResamplerConfig>({
  name: 'resampler',
  title: 'Plain resampler',
  paper: 'arXiv 2204.14198',
  year: 2022,
  source: 'the resampler of Cambrian-1, table 1, in its plainest form',
  mathematics: [
    'x = [W₀ x₀ + place ; W₁ x₁ + place];  q ← q + MHA(LN q; LN x)',
    'q ← q + W₂ gelu(W₁ LN q), twice;  y = W LN q',
  ],
  towers: 'many',
  presets: {
    plain: {
      config: { queries: 16, layers: 2, heads: 4 },
      maps: [
        [8, 8, 48],
        [16, 16, 24],
      ],
      width: 48,
    },
  },
  variants: (config, tokens) => [{ ...config, queries: Math.max(1, Math.round(tokens)) }],
  build: (p, maps, { queries, layers, heads }, { width = 48 }) => {
    const tokens = concat(
      maps.map((map, k) => placedTokens(p.at('map', k), map, width)),
      'n',
    );
    const normed = layerNorm(p.at('norm'), tokens);
    let query: Tensor<'b q c', Float> = repeat(p.get('query', 'q c', { q: queries, c: width }), 'q c -> b q c', {
      b: tokens.sizeOf('b'),
    });
    for (let i = 0; i < layers; i++) {
      const at = p.at('layers', i);
      const q = linear(at.at('q'), layerNorm(at.at('norm1'), query), 'c', { size: width });
      const key = linear(at.at('k'), normed, 'c', { size: width });
      const value = linear(at.at('v'), normed, 'c', { size: width });
      query = query.add(linear(at.at('out'), headAttention(q, key, value, { heads }), 'c', { size: width }));
      const inner = gelu(linear(at.at('fc1'), layerNorm(at.at('norm2'), query), 'f', { size: 2 * width }));
      query = query.add(linear(at.at('fc2'), inner, 'c', { size: width }));
    }
    return tokensOfQueries(linear(p.at('last'), layerNorm(p.at('last_norm'), query), 'c', { size: width }));
  },
});

function placedTokens(p: Params, map: FeatureMap, width: number): Tensor<'b n c', Float> {
  const wide = rearrange(linear(p, map, 'c', { size: width }), 'b h w c -> b n=(h w) c');
  return wide.add(p.get('place_embed', 'n c', { n: wide.size('n'), c: width }));
}

/** A linear map of a grid: what true labels go through. */
export const oracle = connector<PoolingConfig>({
  name: 'oracle',
  title: 'Labels of the scene as features',
  paper: 'none',
  year: 2026,
  source: 'this package',
  mathematics: ['y = W [color ; kind ; sign ; size ; place of the object in the cell]'],
  towers: 'one',
  presets: { plain: { config: { side: 4 }, maps: [[4, 4, 24]], width: 48 } },
  build: (p, maps, _, { width = 48 }) => {
    const [map] = maps;
    if (map === undefined) throw new RangeError('there is no map of labels');
    return mapTokens(linear(p.at('fc'), map, 'c', { size: width }));
  },
});
