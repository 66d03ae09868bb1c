// Perception-LM: the MLP first, adaptive average pooling of its tokens after it.
import { adaptiveAvgPool2d } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface PerceptionLmConfig {
  /** Rows and columns over those of the tokens. */
  readonly ratio: number;
}

export const perceptionLm = connector<PerceptionLmConfig>({
  name: 'perception-lm',
  title: 'Perception-LM',
  paper: 'arXiv 2504.13180',
  year: 2025,
  source: 'huggingface/transformers models/perception_lm/modeling_perception_lm.py PerceptionLMMultiModalProjector',
  mathematics: ['u = W₂ gelu(W₁ x)', 'y = mean over bins of u, ⌊side / ratio⌋ a side'],
  towers: 'one',
  presets: {
    'perception-lm-8b': { config: { ratio: 2 }, maps: [[32, 32, 1536]], width: 4096 },
    'perception-lm-1b': { config: { ratio: 2 }, maps: [[32, 32, 1024]], width: 2048 },
  },
  variants: (config) => [1, 1.5, 2, 3, 4, 6, 8, 12].map((ratio) => ({ ...config, ratio })),
  build: (p, maps, { ratio }, { width }) => {
    const u = mlp(p, onlyMap(maps), { linears: ['linear_1', 'linear_2'], width });
    if (ratio <= 1) return mapTokens(u);
    const less = (size: number) => Math.max(1, Math.floor(size / ratio));
    return mapTokens(adaptiveAvgPool2d(u, { height: less(u.size('h')), width: less(u.size('w')) }));
  },
});
