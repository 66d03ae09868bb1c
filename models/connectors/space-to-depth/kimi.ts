// Kimi-VL and Kimi-K2.5: LayerNorm of each patch, squares of patches, a two-layer MLP as wide inside as the square.
import { otherMerges, patchMerger } from '../../parts/space-to-depth.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface KimiConfig {
  readonly merge: number;
  readonly eps: number;
  /** Names of norm and maps: Kimi-K2.5 in transformers, or Kimi-VL's own. */
  readonly names: 'k2.5' | 'vl';
}

const names = {
  'k2.5': ['in_proj', 'out_proj'],
  vl: ['linear_1', 'linear_2'],
} as const;

export const kimi = connector<KimiConfig>({
  name: 'kimi',
  title: 'Kimi-VL and Kimi-K2.5',
  paper: 'arXiv 2504.07491',
  year: 2025,
  source: 'huggingface/transformers models/kimi_k25/modeling_kimi_k25.py Kimi_K25MultimodalProjection',
  mathematics: ['s = s2d(LN(x))', 'y = W₂ gelu(W₁ s),  W₁: 4C → 4C'],
  towers: 'one',
  presets: {
    'kimi-vl-a3b': { config: { merge: 2, eps: 1e-5, names: 'vl' }, maps: [[32, 32, 1152]], width: 2048 },
    'kimi-k2.5': { config: { merge: 2, eps: 1e-5, names: 'k2.5' }, maps: [[32, 32, 1152]], width: 7168 },
  },
  variants: otherMerges,
  build: (p, maps, config, context) => {
    const norm = { kind: 'layer', path: 'pre_norm', eps: config.eps } as const;
    const options = { merge: config.merge, norm, linears: names[config.names] };
    return mapTokens(patchMerger(p, onlyMap(maps), options, context));
  },
});
