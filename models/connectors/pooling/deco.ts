// DeCo: adaptive average pooling of the tower's own features, then an MLP.
import { adaptiveAvgPool2d } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import { sidesNear } from '../../parts/token-budgets.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface DeCoConfig {
  /** Side of the grid of tokens. */
  readonly side: number;
  /** Linear maps of the MLP. */
  readonly layers: number;
}

export const deco = connector<DeCoConfig>({
  name: 'deco',
  title: 'DeCo average pooling',
  paper: 'arXiv 2405.20985',
  year: 2024,
  source: 'yaolinli/DeCo README.md AvgPoolProjector',
  mathematics: ['s = mean over bins of a side × side grid', 'y = W₂ gelu(W₁ s)'],
  towers: 'one',
  presets: {
    'deco-144': { config: { side: 12, layers: 2 }, maps: [[24, 24, 1024]], width: 4096 },
    'deco-64': { config: { side: 8, layers: 2 }, maps: [[24, 24, 1024]], width: 4096 },
  },
  variants: (config, tokens) => sidesNear(tokens).map((side) => ({ ...config, side })),
  build: (p, maps, { side, layers }, { width }) => {
    const pooled = adaptiveAvgPool2d(onlyMap(maps), { height: side, width: side });
    const linears = Array.from({ length: layers }, (_, i) => `mlp_projector.${2 * i}`);
    return mapTokens(mlp(p, pooled, { linears, width }));
  },
});
