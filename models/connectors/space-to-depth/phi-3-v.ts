// Phi-3-Vision: tiles and the whole picture as squares of patches, a learned token behind each row and one between the two, an MLP.
import { linear } from '../../../dsl/index.ts';
import { activate } from '../../parts/mlp.ts';
import { spaceToDepth } from '../../parts/space-to-depth.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { eachToken, joinTokens, markToken, rowsEndedBy, toLanguage } from '../visual-tokens.ts';

export interface Phi3VConfig {
  readonly merge: number;
}

/** Map 0 is the whole picture, map 1 its tiles stitched together; a picture of one tile may leave it out. */
export const phi3v = connector<Phi3VConfig>({
  name: 'phi-3-v',
  title: 'Phi-3-Vision HD transform',
  paper: 'arXiv 2404.14219',
  year: 2024,
  source: 'microsoft/Phi-3-vision-128k-instruct image_embedding_phi3_v.py',
  mathematics: [
    's = s2d(tiles), s_g = s2d(whole), each row with sub_GN behind it',
    'y = W₂ gelu(W₁ [s ; glb_GN ; s_g])',
  ],
  towers: 'views',
  presets: {
    'phi-3-vision-2x2': {
      config: { merge: 2 },
      maps: [
        [24, 24, 1024],
        [48, 48, 1024],
      ],
      width: 3072,
    },
  },
  build: (p, maps, { merge }, { width }) => {
    const whole = spaceToDepth(onlyMap(maps), merge);
    const e = whole.size('c');
    const row = p.get('sub_GN', 'i j k e', { i: 1, j: 1, k: 1, e }).at('i', 0).at('j', 0).at('k', 0);
    const between = p.get('glb_GN', 'i j e', { i: 1, j: 1, e }).at('i', 0).at('j', 0);
    const globally = rowsEndedBy(toLanguage(whole), row);
    const local = maps.slice(1).map((map, i) => rowsEndedBy(toLanguage(spaceToDepth(map, merge)), row, i + 1));
    const all = joinTokens([...local, markToken(between, 'separator', globally), globally]);
    return eachToken(all, (tokens) => {
      const wide = activate(linear(p.at('img_projection', 0), tokens, 'e', sized(width)), 'gelu');
      return linear(p.at('img_projection', 2), wide, 'e', { size: wide.size('e') });
    });
  },
});
