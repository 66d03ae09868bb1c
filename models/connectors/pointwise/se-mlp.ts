// Cambrian's SE-MLP: squeeze and excitation over channels with a residual, then a two-layer MLP.
import { gelu, linear, reduce, sigmoid } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface SeMlpConfig {
  /** Linear maps of the MLP. */
  readonly layers: number;
}

export const seMlp = connector<SeMlpConfig>({
  name: 'se-mlp',
  title: 'SE-MLP',
  paper: 'arXiv 2406.16860',
  year: 2024,
  source: 'cambrian-mllm/cambrian cambrian/model/multimodal_projector/builder.py SEMLP',
  mathematics: ['g = σ(W_b gelu(W_a mean_n x))', 'y = MLP(x·g + x)'],
  towers: 'one',
  presets: { 'se-mlp': { config: { layers: 2 }, maps: [[24, 24, 1024]], width: 4096 } },
  build: (p, maps, { layers }, { width }) => {
    const x = onlyMap(maps);
    const inner = { size: x.size('c'), bias: false };
    const squeezed = gelu(linear(p.at('se', 0), reduce(x, 'b h w c -> b c', 'mean'), 'c', inner), 'exact');
    const gate = sigmoid(linear(p.at('se', 2), squeezed, 'c', inner));
    const linears = Array.from({ length: layers }, (_, i) => 2 * i);
    return mapTokens(mlp(p.at('proj'), x.mul(gate).add(x), { linears, width }));
  },
});
