// Cambrian-S: an MLP, then the grid resized to a budget of tokens, a newline behind each row.
import { resize } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import { sidesNear } from '../../parts/token-budgets.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens, rowsEndedBy, toLanguage } from '../visual-tokens.ts';

export interface CambrianSConfig {
  /** Side of the grid of tokens: of a single picture, or of a frame of a video. */
  readonly side: number;
  /** Whether `image_newline` stands behind each row. */
  readonly newline: boolean;
}

export const cambrianS = connector<CambrianSConfig>({
  name: 'cambrian-s',
  title: 'Cambrian-S',
  paper: 'arXiv 2511.04670',
  year: 2025,
  source: 'cambrian-mllm/cambrian-s cambrian/model/cambrian_arch.py',
  mathematics: ['u = W₂ gelu(W₁ x)', 'y = bilinear(u), side × side', 'tokens: each row of y, newline'],
  towers: 'one',
  presets: {
    'cambrian-s-7b-image': { config: { side: 24, newline: true }, maps: [[27, 27, 1152]], width: 3584 },
    'cambrian-s-7b-frame': { config: { side: 8, newline: true }, maps: [[27, 27, 1152]], width: 3584 },
    'cambrian-s-3b-frame': { config: { side: 8, newline: true }, maps: [[27, 27, 1152]], width: 2048 },
  },
  variants: (config, tokens) => sidesNear(tokens).map((side) => ({ ...config, side })),
  build: (p, maps, { side, newline }, { width }) => {
    const u = mlp(p.at('mm_projector'), onlyMap(maps), { linears: [0, 2], width });
    const y = resize(u, { height: side, width: side, mode: 'bilinear' });
    if (!newline) return mapTokens(y);
    return rowsEndedBy(toLanguage(y), p.get('image_newline', 'e', { e: y.size('c') }));
  },
});
