// GLM-4.1V: a strided convolution makes one token of a square, then a linear map with norm and GELU, then a gated MLP.
import { conv2d, layerNorm, linear } from '../../../dsl/index.ts';
import { activate, gatedMlp } from '../../parts/mlp.ts';
import { otherMerges, requireSquares } from '../../parts/space-to-depth.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface Glm4vConfig {
  /** `spatial_merge_size`. */
  readonly merge: number;
  /** Width of the gated MLP (`intermediate_size`); with a checkpoint it may be left to that. */
  readonly hidden?: number | undefined;
  readonly eps: number;
}

export const glm4v = connector<Glm4vConfig>({
  name: 'glm-4v',
  title: 'GLM-4.1V merger',
  paper: 'arXiv 2507.01006',
  year: 2025,
  source: 'huggingface/transformers models/glm4v/modeling_glm4v.py Glm4vVisionPatchMerger',
  mathematics: ['s = conv_{k×k, stride k}(x)', 'u = gelu(LN(W₀ s))', 'y = W₃ (silu(W₁ u) · W₂ u)'],
  towers: 'one',
  presets: {
    'glm-4.1v-9b': { config: { merge: 2, hidden: 13696, eps: 1e-5 }, maps: [[24, 24, 1536]], width: 4096 },
    'glm-ocr': { config: { merge: 2, hidden: 4608, eps: 1e-5 }, maps: [[24, 24, 1024]], width: 1536 },
  },
  variants: otherMerges,
  build: (p, maps, { merge, hidden, eps }, { width }) => {
    const map = onlyMap(maps);
    requireSquares('glm-4v', map, merge);
    const s = conv2d(p.at('downsample'), map, { out: 'c', ...sized(width), kernel: merge, stride: merge });
    const m = p.at('merger');
    const wide = linear(m.at('proj'), s, 'c', { size: s.size('c'), bias: false });
    const u = activate(layerNorm(m.at('post_projection_norm'), wide, { eps }), 'gelu');
    return mapTokens(
      gatedMlp(m, u, { gate: 'gate_proj', up: 'up_proj', down: 'down_proj', hidden, width: u.size('c') }),
    );
  },
});
