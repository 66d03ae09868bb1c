// MobileVLM V2's LDPv2: an MLP, adaptive average pooling, a depthwise convolution as a position.
import { adaptiveAvgPool2d, conv2d } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import { sidesNear } from '../../parts/token-budgets.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface LdpV2Config {
  /** Side of the grid of tokens; 12 in the released models. */
  readonly side: number;
}

export const mobilevlmLdpv2 = connector<LdpV2Config>({
  name: 'mobilevlm-ldpv2',
  title: 'MobileVLM V2 LDPv2',
  paper: 'arXiv 2402.03766',
  year: 2024,
  source: 'Meituan-AutoML/MobileVLM mobilevlm/model/vision_projector.py LDPNetV2Projector',
  mathematics: ['u = mean over bins of W₂ gelu(W₁ x), side × side', 'y = u + dwconv₃ₓ₃(u)'],
  towers: 'one',
  presets: {
    'mobilevlm-v2-7b': { config: { side: 12 }, maps: [[24, 24, 1024]], width: 4096 },
    'mobilevlm-v2-1.7b': { config: { side: 12 }, maps: [[24, 24, 1024]], width: 2048 },
  },
  variants: (config, tokens) => sidesNear(tokens).map((side) => ({ ...config, side })),
  build: (p, maps, { side }, { width }) => {
    const wide = mlp(p.at('mlp', 'mlp'), onlyMap(maps), { linears: [0, 2], width });
    const u = adaptiveAvgPool2d(wide, { height: side, width: side });
    const size = u.size('c');
    return mapTokens(u.add(conv2d(p.at('peg', 'peg', 0), u, { out: 'c', size, kernel: 3, padding: 1, groups: size })));
  },
});
