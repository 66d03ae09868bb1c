// Qwen2-VL: LayerNorm of each patch, squares of patches, a two-layer MLP as wide inside as the square.
import { otherMerges, patchMerger } from '../../parts/space-to-depth.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface Qwen2VlConfig {
  /** `spatial_merge_size`. */
  readonly merge: number;
  readonly eps: number;
}

export const qwen2vl = connector<Qwen2VlConfig>({
  name: 'qwen2-vl',
  title: 'Qwen2-VL merger',
  paper: 'arXiv 2409.12191',
  year: 2024,
  source: 'huggingface/transformers models/qwen2_vl/modeling_qwen2_vl.py PatchMerger',
  mathematics: ['s = s2d(LN(x))', 'y = W₂ gelu(W₁ s),  W₁: 4C → 4C'],
  towers: 'one',
  presets: {
    'qwen2-vl-7b': { config: { merge: 2, eps: 1e-6 }, maps: [[36, 36, 1280]], width: 3584 },
    'qwen2-vl-2b': { config: { merge: 2, eps: 1e-6 }, maps: [[36, 36, 1280]], width: 1536 },
    'qwen2-vl-72b': { config: { merge: 2, eps: 1e-6 }, maps: [[36, 36, 1280]], width: 8192 },
  },
  variants: otherMerges,
  build: (p, maps, { merge, eps }, context) => {
    const norm = { kind: 'layer', path: 'ln_q', eps } as const;
    const options = { merge, norm, linears: ['mlp.0', 'mlp.2'] };
    return mapTokens(patchMerger(p, onlyMap(maps), options, context));
  },
});
