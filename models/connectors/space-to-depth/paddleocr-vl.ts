// PaddleOCR-VL: LayerNorm of each patch, squares of patches in the order of rows, a two-layer MLP as wide inside as the square.
import { otherMerges, patchMerger } from '../../parts/space-to-depth.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface PaddleOcrVlConfig {
  readonly merge: number;
  readonly eps: number;
}

export const paddleOcrVl = connector<PaddleOcrVlConfig>({
  name: 'paddleocr-vl',
  title: 'PaddleOCR-VL',
  paper: 'arXiv 2510.14528',
  year: 2025,
  source: 'huggingface/transformers models/paddleocr_vl/modeling_paddleocr_vl.py PaddleOCRProjector',
  mathematics: ['s = s2d(LN(x))', 'y = W₂ gelu(W₁ s),  W₁: 4C → 4C'],
  towers: 'one',
  presets: {
    'paddleocr-vl-0.9b': { config: { merge: 2, eps: 1e-5 }, maps: [[36, 36, 1152]], width: 1024 },
  },
  variants: otherMerges,
  build: (p, maps, { merge, eps }, context) => {
    const norm = { kind: 'layer', path: 'pre_norm', eps } as const;
    const options = { merge, norm, linears: ['linear_1', 'linear_2'] };
    return mapTokens(patchMerger(p, onlyMap(maps), options, context));
  },
});
