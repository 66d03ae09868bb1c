// LLaVA-NeXT and LLaVA-OneVision: the whole picture, then its tiles put together, without the margins, a newline behind each row.
import { resize } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import { squareTiling, stitched, type Tiling } from '../../parts/tiles.ts';
import { bestCanvas, nextCanvases, oneVisionCanvases, shrunk, unpadded, type Canvas } from '../../sequence/anyres.ts';
import { cropGrid } from '../../sequence/newline.ts';
import { connector, onlyMap } from '../connector.ts';
import { joinTokens, mapTokens, markToken, rowsEndedBy, toLanguage } from '../visual-tokens.ts';

export interface AnyresConfig {
  /** `image_grid_pinpoints`: sizes in pixels that a picture may be put on. */
  readonly canvases: readonly Canvas[];
  /** Side of a tile in pixels. */
  readonly tile: number;
  /** `anyres_max_N`: what is clearly more than N tiles' tokens is resized to about N. */
  readonly limit?: number | undefined;
  /** Paths of the MLP; none: the maps are as wide as the language model already. */
  readonly linears: readonly string[];
}

const linears = ['linear_1', 'linear_2'];

/** Map 0 is the whole picture's, the others those of its tiles, row by row; `pictures` of the context has its size. */
export const llavaAnyres = connector<AnyresConfig>({
  name: 'llava-anyres',
  title: 'LLaVA-NeXT and OneVision anyres',
  paper: 'https://llava-vl.github.io/blog/2024-01-30-llava-next/',
  year: 2024,
  source: 'huggingface/transformers models/llava_onevision/modeling_llava_onevision.py pack_image_features',
  mathematics: [
    'u = W₂ gelu(W₁ x) for the whole picture and its tiles',
    'tokens: whole, each row of the unpadded tiles, newline',
  ],
  towers: 'views',
  presets: {
    'llava-v1.6-7b-672x672': {
      config: { canvases: nextCanvases, tile: 336, linears },
      maps: Array.from({ length: 5 }, () => [24, 24, 1024] as const),
      width: 4096,
      picture: { width: 672, height: 672 },
    },
    'llava-v1.6-7b-640x480': {
      config: { canvases: nextCanvases, tile: 336, linears },
      maps: Array.from({ length: 5 }, () => [24, 24, 1024] as const),
      width: 4096,
      picture: { width: 640, height: 480 },
    },
    'llava-onevision-7b-1152x1152': {
      config: { canvases: oneVisionCanvases, tile: 384, limit: 9, linears },
      maps: Array.from({ length: 10 }, () => [27, 27, 1152] as const),
      width: 3584,
      picture: { width: 1152, height: 1152 },
    },
  },
  build: (p, maps, config, { width, pictures }) => {
    const projected = maps.map((map) =>
      config.linears.length === 0 ? map : mlp(p.at('multi_modal_projector'), map, { linears: config.linears, width }),
    );
    const whole = onlyMap(projected);
    const newline = p.get('image_newline', 'e', { e: whole.size('c') });
    const first = mapTokens(whole);
    const tiles = projected.slice(1);
    if (tiles.length === 0) return joinTokens([first, markToken(newline, 'newline', first)]);
    const picture = pictures?.[0];
    const canvas = picture === undefined ? undefined : bestCanvas(picture, config.canvases);
    const tiling: Tiling =
      canvas === undefined ? squareTiling(tiles.length) : [canvas[0] / config.tile, canvas[1] / config.tile];
    const all = toLanguage(stitched(tiles, tiling));
    const area = picture === undefined ? undefined : unpadded(picture, [all.size('h'), all.size('w')]);
    const part = area === undefined ? all : cropGrid(all, area);
    const shown = { top: 0, left: 0, height: part.size('h'), width: part.size('w') };
    const small =
      config.limit === undefined ? undefined : shrunk(shown, config.limit * whole.size('h') * whole.size('w'));
    const grid = small === undefined ? part : resize(part, { height: small[0], width: small[1], mode: 'bilinear' });
    return joinTokens([first, rowsEndedBy(grid, newline, 1)]);
  },
});
