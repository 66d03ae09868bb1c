// MoF (interleaved): two towers, each with an MLP of its own, their tokens in turn.
import { rearrange, stack } from '../../../dsl/index.ts';
import { onSameGrid } from '../../parts/grids.ts';
import { mlp } from '../../parts/mlp.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface MofConfig {
  /** Where the MLP of each tower stands. */
  readonly projectors: readonly [string, string];
}

export const mof = connector<MofConfig>({
  name: 'mof',
  title: 'MoF interleaved',
  paper: 'arXiv 2401.06209',
  year: 2024,
  source: 'tsb0601/MMVP LLaVA/llava/model/llava_arch.py prepare_inputs_labels_for_multimodal_withdino',
  mathematics: ['a = MLP₁(CLIP),  b = MLP₂(DINOv2)', 'tokens: a₀ b₀ a₁ b₁ …'],
  towers: 'many',
  presets: {
    'mmvp-mof-7b': {
      config: { projectors: ['mm_projector', 'dino_mm_projector'] },
      maps: [
        [16, 16, 1024],
        [16, 16, 1024],
      ],
      width: 4096,
    },
  },
  build: (p, maps, { projectors }, { width }) => {
    const first = onlyMap(maps);
    const grid = { rows: first.size('h'), columns: first.size('w') };
    const second = onSameGrid(maps[1] ?? first, grid);
    const projected = [first, second].map((map, k) => mlp(p.at(projectors[k] ?? ''), map, { linears: [0, 2], width }));
    return mapTokens(rearrange(stack(projected, 'k'), 'b h w c k -> b h w=(w k) c'));
  },
});
