// Eagle: the channels of all towers side by side on one grid, sampled with corners on corners, then an MLP.
import { channelConcat } from '../../parts/grids.ts';
import { mlp } from '../../parts/mlp.ts';
import { sidesNear } from '../../parts/token-budgets.ts';
import { connector } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface EagleConfig {
  /** Side of the grid of tokens. */
  readonly side: number;
}

export const eagle = connector<EagleConfig>({
  name: 'eagle',
  title: 'Eagle channel concatenation',
  paper: 'arXiv 2408.15998',
  year: 2024,
  source: 'NVlabs/EAGLE eagle/model/multimodal_encoder/multi_backbone_channel_concatenation_encoder.py',
  mathematics: ['x = [bilinear(x_1) ; … ; bilinear(x_k)] along channels, side × side', 'y = W₂ gelu(W₁ x)'],
  towers: 'many',
  presets: {
    'eagle-x4-7b': {
      config: { side: 32 },
      maps: [
        [32, 32, 1024],
        [32, 32, 3072],
        [32, 32, 1024],
        [32, 32, 1536],
      ],
      width: 4096,
    },
  },
  variants: (config, tokens) => sidesNear(tokens).map((side) => ({ ...config, side })),
  build: (p, maps, { side }, { width, inspect }) => {
    const fused = channelConcat(maps, { rows: side, columns: side, alignCorners: true });
    inspect?.('fused', fused);
    return mapTokens(mlp(p.at('mm_projector'), fused, { linears: [0, 2], width }));
  },
});
