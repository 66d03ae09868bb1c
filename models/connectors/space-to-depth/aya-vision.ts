// Aya Vision: squares of patches, LayerNorm, one half of a wide map gates with the other.
import { splitGated } from '../../parts/mlp.ts';
import { norm } from '../../parts/norms.ts';
import { otherMerges, spaceToDepth } from '../../parts/space-to-depth.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface AyaVisionConfig {
  readonly merge: number;
  /** Width of both halves together (`alignment_intermediate_size`); with a checkpoint it may be left to that. */
  readonly hidden?: number | undefined;
  readonly eps: number;
}

export const ayaVision = connector<AyaVisionConfig>({
  name: 'aya-vision',
  title: 'Aya Vision',
  paper: 'arXiv 2505.08751',
  year: 2025,
  source: 'huggingface/transformers models/aya_vision/modeling_aya_vision.py AyaVisionMultiModalProjector',
  mathematics: ['[u ; g] = W₁ LN(s2d(x))', 'y = W₂ (u · silu(g))'],
  towers: 'one',
  presets: {
    'aya-vision-8b': { config: { merge: 2, hidden: 28672, eps: 1e-6 }, maps: [[26, 26, 1152]], width: 4096 },
    'aya-vision-32b': { config: { merge: 2, hidden: 49152, eps: 1e-6 }, maps: [[26, 26, 1152]], width: 8192 },
  },
  variants: otherMerges,
  build: (p, maps, config, context) => {
    const s = norm(p, spaceToDepth(onlyMap(maps), config.merge), { kind: 'layer', path: 'layernorm', eps: config.eps });
    return mapTokens(splitGated(p, s, config.hidden, context.width));
  },
});
