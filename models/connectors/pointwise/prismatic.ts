// Prismatic's fused MLP: the channels of several towers side by side, widened fourfold, then to the language model's width.
import { channelConcat } from '../../parts/grids.ts';
import { activate } from '../../parts/mlp.ts';
import { linear } from '../../../dsl/index.ts';
import { sized } from '../../sequence/regions.ts';
import { connector } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface PrismaticConfig {
  /** The first map is widened by this factor. */
  readonly expansion: number;
}

export const prismatic = connector<PrismaticConfig>({
  name: 'prismatic',
  title: 'Prismatic fused MLP',
  paper: 'arXiv 2402.07865',
  year: 2024,
  source: 'TRI-ML/prismatic-vlms prismatic/util/nn_utils.py FusedMLPProjector',
  mathematics: ['x = [x_1 ; … ; x_k] along channels, C in all', 'y = W₃ gelu(W₂ gelu(W₁ x)),  W₁: C → 4C'],
  towers: 'many',
  presets: {
    'prism-dinosiglip-7b': {
      config: { expansion: 4 },
      maps: [
        [27, 27, 1024],
        [27, 27, 1152],
      ],
      width: 4096,
    },
  },
  build: (p, maps, { expansion }, { width }) => {
    const x = channelConcat(maps);
    const wide = activate(linear(p.at('projector', 0), x, 'c', { size: expansion * x.size('c') }), 'gelu');
    const y = activate(linear(p.at('projector', 2), wide, 'c', sized(width)), 'gelu');
    return mapTokens(linear(p.at('projector', 4), y, 'c', { size: y.size('c') }));
  },
});
