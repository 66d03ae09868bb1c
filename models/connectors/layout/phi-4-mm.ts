// Phi-4-multimodal: pooled tiles without their padding, a separator, the pooled whole picture; a learned token behind each row; an MLP.
import { avgPool2d, concat, linear, slice, type Float, type Params, type Tensor } from '../../../dsl/index.ts';
import { activate } from '../../parts/mlp.ts';
import { squareTiling, stitched, type Tiling } from '../../parts/tiles.ts';
import type { PictureSize } from '../../sequence/masks.ts';
import { sized, type FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { eachToken, joinTokens, markToken, rowsEndedBy, toLanguage, type VisualTokens } from '../visual-tokens.ts';

export interface Phi4MmConfig {
  /** Side of a tile in pixels, and of a patch. */
  readonly tile: number;
  readonly patch: number;
}

const crops = (count: number) => Array.from({ length: count }, () => [32, 32, 1152] as const);

/** Map 0 is the whole picture's, the others those of its tiles, row by row; `pictures` of the context has its size. */
export const phi4mm = connector<Phi4MmConfig>({
  name: 'phi-4-mm',
  title: 'Phi-4-multimodal image embedding',
  paper: 'arXiv 2503.01743',
  year: 2025,
  source: 'huggingface/transformers models/phi4_multimodal/modeling_phi4_multimodal.py Phi4MultimodalImageEmbedding',
  mathematics: [
    's = mean over 2 × 2, of the tiles without padding and of the whole',
    'y = W₂ gelu(W₁ [each row of s, newline ; separator ; each row of s_whole, newline])',
  ],
  towers: 'views',
  presets: {
    'phi-4-multimodal-2x2': {
      config: { tile: 448, patch: 14 },
      maps: crops(5),
      width: 3072,
      picture: { width: 896, height: 896 },
    },
  },
  build: (p, maps, config, { width, pictures }) => {
    const tiles = maps.slice(1);
    const tiling = squareTiling(tiles.length);
    const picture = pictures?.[0];
    const useful = picture === undefined ? undefined : usefulCells(picture, tiling, config);
    return phi4Tokens(p, onlyMap(maps), tiles, { tiling, useful, width });
  },
});

/** Pooled rows and columns of the tiles that show the picture: it is scaled to fit them and padded at the right or below. */
function usefulCells({ width, height }: PictureSize, [rows, columns]: Tiling, { tile, patch }: Phi4MmConfig): Tiling {
  const [canvasHeight, canvasWidth] = [rows * tile, columns * tile];
  const scale = Math.min(canvasWidth / width, canvasHeight / height);
  const cells = (canvas: number, size: number) => {
    const padding = canvas - Math.min(canvas, Math.trunc(size * scale));
    return Math.ceil((canvas / patch - Math.floor(padding / patch)) / 2);
  };
  return [cells(canvasHeight, height), cells(canvasWidth, width)];
}

/** As `build`, with a tiling and the cells to keep that the caller knows. */
export function phi4Tokens(
  p: Params,
  whole: FeatureMap,
  tiles: readonly FeatureMap[],
  options: {
    readonly tiling: Tiling;
    readonly useful?: Tiling | undefined;
    readonly width?: number | undefined;
  },
): VisualTokens {
  const c = whole.size('c');
  const row = p.get('sub_img_feature_extensor', 'i j k e', { i: 1, j: 1, k: 1, e: c }).at('i', 0).at('j', 0).at('k', 0);
  const separator = p.get('global_img_feature_extensor', 'i j e', { i: 1, j: 1, e: c }).at('i', 0).at('j', 0);
  const globally = rowsEndedBy(toLanguage(pooled(whole)), row);
  const parts = [markToken(separator, 'separator', globally), globally];
  if (tiles.length > 0) {
    const all = stitched(tiles.map(pooled), options.tiling);
    const [height, width] = options.useful ?? [all.size('h'), all.size('w')];
    const shown = slice(slice(all, 'h', { size: height }), 'w', { size: width });
    parts.unshift(rowsEndedBy(toLanguage(shown), row, 1));
  }
  return eachToken(joinTokens(parts), (tokens: Tensor<'b n e', Float>) => {
    const up = activate(linear(p.at('img_projection_up'), tokens, 'e', sized(options.width)), 'gelu');
    return linear(p.at('img_projection_down'), up, 'e', { size: up.size('e') });
  });
}

/** Means of 2 × 2 patches; an odd grid is first continued by the mirror of its last row and column but one. */
function pooled(map: FeatureMap): FeatureMap {
  const even = (['h', 'w'] as const).reduce<FeatureMap>((x, axis) => {
    const size = x.size(axis);
    return size % 2 === 0 ? x : concat([x, slice(x, axis, { start: size - 2, size: 1 })], axis);
  }, map);
  return avgPool2d(even, { kernel: 2, stride: 2 });
}
