// MobileVLM's LDP: an MLP, then two inverted residual blocks, the second of stride 2.
import { conv2d, layerNorm, type Params } from '../../../dsl/index.ts';
import { hardSigmoid, squeezeExcite } from '../../parts/convolutions.ts';
import { mlp } from '../../parts/mlp.ts';
import type { FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface LdpConfig {
  readonly eps: number;
}

export const mobilevlmLdp = connector<LdpConfig>({
  name: 'mobilevlm-ldp',
  title: 'MobileVLM LDP',
  paper: 'arXiv 2312.16886',
  year: 2023,
  source: 'Meituan-AutoML/MobileVLM mobilevlm/model/vision_projector.py LDPNetProjector',
  mathematics: [
    'u = W₂ gelu(W₁ x)',
    'block(u) = LN(conv₁ₓ₁(SE(hswish(LN(dwconv₃ₓ₃ u)))))',
    'y = block_{stride 2}(u + block(u))',
  ],
  towers: 'one',
  presets: {
    'mobilevlm-1.7b': { config: { eps: 1e-5 }, maps: [[24, 24, 1024]], width: 2048 },
    'mobilevlm-3b': { config: { eps: 1e-5 }, maps: [[24, 24, 1024]], width: 2560 },
  },
  build: (p, maps, { eps }, { width }) => {
    const m = p.at('model');
    const u = mlp(m, onlyMap(maps), { linears: ['mlp.1', 'mlp.3'], width });
    const same = u.add(invertedResidual(m.at('mb_block', 1, 'block'), u, 1, eps));
    return mapTokens(invertedResidual(m.at('mb_block', 2, 'block'), same, 2, eps));
  },
});

function invertedResidual(p: Params, x: FeatureMap, stride: number, eps: number): FeatureMap {
  const size = x.size('c');
  const deep = conv2d(p.at(0, 0), x, { out: 'c', size, kernel: 3, padding: 1, stride, groups: size, bias: false });
  const normed = layerNorm(p.at(0, 1), deep, { eps });
  const active = normed.mul(hardSigmoid(normed));
  const gated = squeezeExcite(p.at(1), active, {
    squeezed: divisible(size / 4, 8),
    activation: 'relu',
    gate: 'hard-sigmoid',
  });
  const flat = conv2d(p.at(2, 0), gated, { out: 'c', size, kernel: 1, bias: false });
  return layerNorm(p.at(2, 1), flat, { eps });
}

/** MobileNet's rounding of widths: to the nearest multiple, but never by more than a tenth down. */
function divisible(x: number, by: number): number {
  const near = Math.max(by, Math.floor((x + by / 2) / by) * by);
  return near < 0.9 * x ? near + by : near;
}
