// Qwen3-VL: the merger of the last layer norms each patch, those of DeepStack norm the square.
import { merger, otherMerges } from '../../parts/space-to-depth.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface Qwen3VlConfig {
  /** `spatial_merge_size`. */
  readonly merge: number;
  readonly eps: number;
  /** `use_postshuffle_norm`: the square is normed, not each patch. */
  readonly postShuffle: boolean;
}

export const qwen3vl = connector<Qwen3VlConfig>({
  name: 'qwen3-vl',
  title: 'Qwen3-VL merger',
  paper: 'arXiv 2511.21631',
  year: 2025,
  source: 'huggingface/transformers models/qwen3_vl/modeling_qwen3_vl.py Qwen3VLVisionPatchMerger',
  mathematics: ['s = s2d(LN(x)), or LN(s2d(x))', 'y = W₂ gelu(W₁ s),  W₁: 4C → 4C'],
  towers: 'one',
  presets: {
    'qwen3-vl-8b': { config: { merge: 2, eps: 1e-6, postShuffle: false }, maps: [[32, 32, 1152]], width: 4096 },
    'qwen3-vl-4b': { config: { merge: 2, eps: 1e-6, postShuffle: false }, maps: [[32, 32, 1024]], width: 2560 },
    'qwen3-vl-2b': { config: { merge: 2, eps: 1e-6, postShuffle: false }, maps: [[32, 32, 1024]], width: 2048 },
  },
  variants: otherMerges,
  build: (p, maps, config, context) => {
    const options = { merge: config.merge, linears: ['linear_fc1', 'linear_fc2'], hidden: 'merged' } as const;
    const place = config.postShuffle ? 'after' : 'before';
    return mapTokens(
      merger(p, onlyMap(maps), { ...options, norm: { kind: 'layer', path: 'norm', eps: config.eps, place } }, context),
    );
  },
});
