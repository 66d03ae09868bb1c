// LLaVA-OneVision-1.5 and 2: Qwen's merger with LayerNorm, squares of 2 × 2, or of 3 × 3 in the second.
import { otherMerges, patchMerger } from '../../parts/space-to-depth.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface LlavaOneVision15Config {
  readonly merge: number;
  readonly eps: number;
}

export const llavaOneVision15 = connector<LlavaOneVision15Config>({
  name: 'llava-onevision-1.5',
  title: 'LLaVA-OneVision-1.5 and 2',
  paper: 'arXiv 2509.23661',
  year: 2025,
  source: 'EvolvingLMMs-Lab/LLaVA-OneVision-1.5 transformers implementation, PatchMerger',
  mathematics: ['s = s2d(LN(x))', 'y = W₂ gelu(W₁ s),  W₁: k²C → k²C'],
  towers: 'one',
  presets: {
    'llava-onevision-1.5-8b': { config: { merge: 2, eps: 1e-5 }, maps: [[40, 40, 1024]], width: 4096 },
    'llava-onevision-1.5-4b': { config: { merge: 2, eps: 1e-5 }, maps: [[40, 40, 1024]], width: 2560 },
    'llava-onevision-2-8b': { config: { merge: 3, eps: 1e-5 }, maps: [[36, 36, 1024]], width: 4096 },
  },
  variants: otherMerges,
  build: (p, maps, { merge, eps }, context) => {
    const norm = { kind: 'layer', path: 'ln_q', eps } as const;
    const options = { merge, norm, linears: ['mlp.0', 'mlp.2'] };
    return mapTokens(patchMerger(p, onlyMap(maps), options, context));
  },
});
