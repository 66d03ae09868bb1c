// Qwen2.5-VL: Qwen2-VL's merger with RMSNorm.
import { otherMerges, patchMerger } from '../../parts/space-to-depth.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface Qwen25VlConfig {
  /** `spatial_merge_size`. */
  readonly merge: number;
  readonly eps: number;
}

export const qwen25vl = connector<Qwen25VlConfig>({
  name: 'qwen2.5-vl',
  title: 'Qwen2.5-VL merger',
  paper: 'arXiv 2502.13923',
  year: 2025,
  source: 'huggingface/transformers models/qwen2_5_vl/modeling_qwen2_5_vl.py Qwen2_5_VLPatchMerger',
  mathematics: ['s = s2d(RMS(x))', 'y = W₂ gelu(W₁ s),  W₁: 4C → 4C'],
  towers: 'one',
  presets: {
    'qwen2.5-vl-7b': { config: { merge: 2, eps: 1e-6 }, maps: [[36, 36, 1280]], width: 3584 },
    'qwen2.5-vl-3b': { config: { merge: 2, eps: 1e-6 }, maps: [[36, 36, 1280]], width: 2048 },
    'qwen2.5-vl-72b': { config: { merge: 2, eps: 1e-6 }, maps: [[36, 36, 1280]], width: 8192 },
  },
  variants: otherMerges,
  build: (p, maps, { merge, eps }, context) => {
    const norm = { kind: 'rms', path: 'ln_q', eps } as const;
    const options = { merge, norm, linears: ['mlp.0', 'mlp.2'] };
    return mapTokens(patchMerger(p, onlyMap(maps), options, context));
  },
});
