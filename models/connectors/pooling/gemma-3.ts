// Gemma 3: averages over squares, RMSNorm with scale 1 + weight, a matrix stored as channels × width.
import { avgPool2d, einsum } from '../../../dsl/index.ts';
import { norm } from '../../parts/norms.ts';
import { connector, onlyMap } from '../connector.ts';
import { gridTokens } from '../visual-tokens.ts';

export interface Gemma3Config {
  /** √`mm_tokens_per_image`: side of the grid of tokens. */
  readonly side: number;
  readonly eps: number;
}

export const gemma3 = connector<Gemma3Config>({
  name: 'gemma-3',
  title: 'Gemma 3',
  paper: 'arXiv 2503.19786',
  year: 2025,
  source: 'huggingface/transformers models/gemma3/modeling_gemma3.py Gemma3MultiModalProjector',
  mathematics: ['s = mean over squares of x', 'y = (1 + γ) s / rms(s) · W'],
  towers: 'one',
  presets: {
    'gemma-3-4b': { config: { side: 16, eps: 1e-6 }, maps: [[64, 64, 1152]], width: 2560 },
    'gemma-3-12b': { config: { side: 16, eps: 1e-6 }, maps: [[64, 64, 1152]], width: 3840 },
    'gemma-3-27b': { config: { side: 16, eps: 1e-6 }, maps: [[64, 64, 1152]], width: 5376 },
  },
  variants: (config, _tokens, maps) =>
    Array.from({ length: maps[0]?.[0] ?? 1 }, (_, i) => ({ ...config, side: i + 1 })).filter(
      ({ side }) => (maps[0]?.[0] ?? 1) % side === 0,
    ),
  build: (p, maps, { side, eps }, { width }) => {
    const map = onlyMap(maps);
    // As in the code, what is left beside the last whole square is not read.
    const kernel = Math.max(1, Math.floor(map.size('h') / side));
    const pooled = avgPool2d(map, { kernel, stride: kernel });
    const normed = norm(p, pooled, { kind: 'rms-unit', path: 'mm_soft_emb_norm', eps });
    const weight = p.get('mm_input_projection_weight', 'c e', {
      c: map.size('c'),
      ...(width === undefined ? {} : { e: width }),
    });
    return gridTokens(einsum(normed, weight, 'b h w c, c e -> b h w e'));
  },
});
