// VILA and NVILA: squares of 2 × 2 or 3 × 3 patches, zeros where the grid does not divide, norms, an MLP.
import { layerNorm, linear } from '../../../dsl/index.ts';
import { activate, mlp } from '../../parts/mlp.ts';
import { otherMerges, paddedTo, spaceToDepth } from '../../parts/space-to-depth.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface VilaConfig {
  readonly merge: number;
  /** `mlp_downsample_3x3_fix`: a map to a third of the square's channels, with a norm of its own, before the MLP. */
  readonly narrowed: boolean;
  readonly eps: number;
}

export const vila = connector<VilaConfig>({
  name: 'vila',
  title: 'VILA and NVILA',
  paper: 'arXiv 2412.04468',
  year: 2024,
  source: 'NVlabs/VILA llava/model/multimodal_projector/base_projector.py MultimodalProjector',
  mathematics: ['s = LN(s2d(pad x))', '3×3: s ← LN(gelu(W₀ s)),  9C → 3C', 'y = W₂ gelu(W₁ s)'],
  towers: 'one',
  presets: {
    'nvila-8b': { config: { merge: 2, narrowed: false, eps: 1e-5 }, maps: [[32, 32, 1152]], width: 3584 },
    'nvila-lite-8b': { config: { merge: 3, narrowed: true, eps: 1e-5 }, maps: [[32, 32, 1152]], width: 3584 },
    'vila1.5-3b': { config: { merge: 2, narrowed: false, eps: 1e-5 }, maps: [[27, 27, 1152]], width: 2560 },
  },
  variants: otherMerges,
  build: (p, maps, { merge, narrowed, eps }, { width }) => {
    const map = onlyMap(maps);
    const s = layerNorm(p.at('layers', 1), spaceToDepth(paddedTo(map, merge), merge), { eps });
    if (!narrowed) return mapTokens(mlp(p, s, { linears: ['layers.2', 'layers.4'], width }));
    const narrow = activate(linear(p.at('layers', 2), s, 'c', { size: 3 * map.size('c') }), 'gelu');
    const normed = layerNorm(p.at('layers', 4), narrow, { eps });
    return mapTokens(mlp(p, normed, { linears: ['layers.5', 'layers.7'], width }));
  },
});
