// InternVL's dynamic resolution: the tiles of a picture one after the other, a thumbnail of the whole behind them.
import { joinTokens, type VisualTokens } from '../visual-tokens.ts';
import { connector } from '../connector.ts';
import { internvl, type InternVlConfig } from '../space-to-depth/internvl.ts';

const released = { merge: 2, version: 'v2', names: 'mlp1', eps: 1e-5 } as const;

/** The maps are those of the tiles, row by row, and last that of the thumbnail, where there is more than one tile. */
export const internvlTiles = connector<InternVlConfig>({
  name: 'internvl-tiles',
  title: 'InternVL tiles and thumbnail',
  paper: 'arXiv 2404.16821',
  year: 2024,
  source: 'OpenGVLab/InternVL internvl_chat/internvl/train/dataset.py dynamic_preprocess',
  mathematics: ['y_v = W₂ gelu(W₁ LN(s2d(x_v))) for each view v', 'tokens: y of each tile, y of the thumbnail'],
  towers: 'views',
  presets: {
    'internvl3-8b-4-tiles': {
      config: released,
      maps: Array.from({ length: 5 }, () => [32, 32, 1024] as const),
      width: 3584,
    },
    'internvl3-8b-12-tiles': {
      config: released,
      maps: Array.from({ length: 13 }, () => [32, 32, 1024] as const),
      width: 3584,
    },
  },
  variants: (config) => [1, 2, 4, 8].map((merge) => ({ ...config, merge })),
  build: (p, maps, config, context) => {
    const views = maps.map((map): VisualTokens => internvl.build(p, [map], config, context));
    // The whole picture is view 0 wherever it stands.
    const count = views.length;
    return joinTokens(
      views.map(({ tokens, layout }, i) => ({
        tokens,
        layout: layout.map((run) => ({ ...run, view: count === 1 ? 0 : (i + 1) % count })),
      })),
    );
  },
});
