// Janus: the understanding side's aligner, an MLP on every patch.
import { mlp } from '../../parts/mlp.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface JanusConfig {
  readonly depth: number;
}

export const janus = connector<JanusConfig>({
  name: 'janus',
  title: 'Janus aligner',
  paper: 'arXiv 2410.13848',
  year: 2024,
  source: 'deepseek-ai/Janus janus/models/projector.py MlpProjector',
  mathematics: ['y = W_d gelu(… gelu(W₁ x))'],
  towers: 'one',
  presets: {
    'janus-pro-7b': { config: { depth: 2 }, maps: [[24, 24, 1024]], width: 4096 },
    'janus-1.3b': { config: { depth: 2 }, maps: [[24, 24, 1024]], width: 2048 },
  },
  build: (p, maps, { depth }, { width }) => {
    const linears = ['fc1', ...Array.from({ length: depth - 1 }, (_, i) => `hidden_layers.${i}`)];
    return mapTokens(mlp(p, onlyMap(maps), { linears, width }));
  },
});
