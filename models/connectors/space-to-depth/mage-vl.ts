// Mage-VL: Qwen's merger, and learned rows and columns added to its tokens.
import { repeat } from '../../../dsl/index.ts';
import { columnPositions, rowPositions } from '../../parts/positions.ts';
import { otherMerges, patchMerger } from '../../parts/space-to-depth.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface MageVlConfig {
  readonly merge: number;
  readonly eps: number;
  /** Rows and columns that have a position. */
  readonly positions: number;
}

export const mageVl = connector<MageVlConfig>({
  name: 'mage-vl',
  title: 'Mage-VL',
  paper: 'https://github.com/Blaizzy/mlx-vlm',
  year: 2026,
  source: 'Blaizzy/mlx-vlm mlx_vlm/models/mage_vl/vision.py',
  mathematics: ['s = s2d(LN(x))', 'y = W₂ gelu(W₁ s) + P_row + P_column'],
  towers: 'one',
  presets: {
    'mage-vl': { config: { merge: 2, eps: 1e-6, positions: 64 }, maps: [[32, 32, 1152]], width: 4096 },
  },
  variants: otherMerges,
  build: (p, maps, { merge, eps, positions }, context) => {
    const norm = { kind: 'layer', path: 'ln_q', eps } as const;
    const y = patchMerger(p, onlyMap(maps), { merge, norm, linears: ['mlp.0', 'mlp.2'] }, context);
    const table = (name: string) => p.at(name).get('weight', 'k c', { k: positions, c: y.size('c') });
    const place = rowPositions(table('row_embed'), y).add(columnPositions(table('col_embed'), y));
    return mapTokens(y.add(repeat(place, 'h w c -> b h w c', { b: y.sizeOf('b') })));
  },
});
