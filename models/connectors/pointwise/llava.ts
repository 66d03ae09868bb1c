// LLaVA's projectors: one linear map (1.0), or linear maps with GELU between them (1.5), on every patch.
import { mlp } from '../../parts/mlp.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface LlavaProjector {
  /** Paths of the linear maps: `mm_projector` numbers them 0, 2, …; '' where the only one stands at the root. */
  readonly linears: readonly (string | number)[];
}

export const llava = connector<LlavaProjector>({
  name: 'llava',
  title: 'LLaVA linear and MLP',
  paper: 'arXiv 2310.03744',
  year: 2023,
  source: 'haotian-liu/LLaVA llava/model/multimodal_projector/builder.py',
  mathematics: ['y = W₂ gelu(W₁ x + b₁) + b₂ for every patch x', '1.0: y = W x + b'],
  towers: 'one',
  presets: {
    'llava-1.5-7b': { config: { linears: [0, 2] }, maps: [[24, 24, 1024]], width: 4096 },
    'llava-1.5-13b': { config: { linears: [0, 2] }, maps: [[24, 24, 1024]], width: 5120 },
    'llava-1.0-7b': { config: { linears: [''] }, maps: [[16, 16, 1024]], width: 4096 },
  },
  build: (p, maps, { linears }, { width }) => mapTokens(mlp(p, onlyMap(maps), { linears, width })),
});
