// S² (scaling on scales): one tower sees the picture at several scales; the maps are averaged to one grid, channels side by side, then an MLP.
import { adaptiveAvgPool2d, concat, rearrange, resize } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import type { FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface S2Config {
  /** Which scale's grid the tokens have. */
  readonly gridOf: number;
}

/** Map k is that of scale k, its sub-pictures put together again. */
export const s2 = connector<S2Config>({
  name: 's2',
  title: 'S² multi-scale wrapper',
  paper: 'arXiv 2403.13043',
  year: 2024,
  source: 'bfshi/scaling_on_scales s2wrapper/core.py',
  mathematics: ['x_k = area(tower(picture at scale k)) on one grid', 'y = W₂ gelu(W₁ [x_1 ; x_2 ; x_3])'],
  towers: 'views',
  presets: {
    'llava-1.5-7b-s2': {
      config: { gridOf: 0 },
      maps: [
        [24, 24, 1024],
        [48, 48, 1024],
        [72, 72, 1024],
      ],
      width: 4096,
    },
  },
  build: (p, maps, { gridOf }, { width }) =>
    mapTokens(mlp(p.at('mm_projector'), joinedScales(maps, gridOf), { linears: [0, 2], width })),
});

/** The maps on the grid of one of them, by averages over areas, channels side by side. */
export function joinedScales(maps: readonly FeatureMap[], gridOf: number): FeatureMap {
  const grid = maps[gridOf] ?? onlyMap(maps);
  const [height, width] = [grid.size('h'), grid.size('w')];
  const onGrid = (map: FeatureMap): FeatureMap =>
    map.size('h') === height && map.size('w') === width
      ? map
      : adaptiveAvgPool2d(map.cast('f32'), { height, width }).cast(map.dtype);
  return concat(maps.map(onGrid), 'c');
}

/** A picture `b h w c` at a scale, bicubic without antialiasing, cut into scale × scale sub-pictures: seen by `tower` and put together. */
export function scaledMap(
  picture: FeatureMap,
  { scale, splits }: { readonly scale: number; readonly splits: number },
  tower: (pictures: FeatureMap) => FeatureMap,
): FeatureMap {
  const side = Math.round(picture.size('h') * scale);
  const large = scale === 1 ? picture : resize(picture, { height: side, width: side, mode: 'bicubic' });
  const cut = rearrange(large, 'b (y h) (x w) c -> b=(y x b) h w c', { y: splits, x: splits });
  return rearrange(tower(cut), '(y x b) h w c -> b h=(y h) w=(x w) c', { y: splits, x: splits });
}
