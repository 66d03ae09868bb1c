// LLaVA-NeXT's mlpNx_resMx_gelu: an MLP, then residual blocks whose residual carries the normed value.
import { gelu, layerNorm, linear, type Params } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import type { FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface ResMlpConfig {
  /** Linear maps of the MLP. */
  readonly layers: number;
  /** Residual blocks behind it. */
  readonly blocks: number;
}

export const llavaNextResMlp = connector<ResMlpConfig>({
  name: 'llava-next-res-mlp',
  title: 'LLaVA-NeXT MLP with residual blocks',
  paper: 'https://llava-vl.github.io/blog/2024-01-30-llava-next/',
  year: 2024,
  source: 'LLaVA-VL/LLaVA-NeXT llava/model/multimodal_projector/builder.py SimpleResBlock',
  mathematics: ['x ← W₂ gelu(W₁ x)', 'y = LN(x);  x ← y + W₄ gelu(W₃ y), for each block'],
  towers: 'one',
  presets: {
    mlp2x_res2x: { config: { layers: 2, blocks: 2 }, maps: [[24, 24, 1024]], width: 4096 },
    mlp2x_res1x: { config: { layers: 2, blocks: 1 }, maps: [[27, 27, 1152]], width: 3584 },
  },
  build: (p, maps, { layers, blocks }, { width }) => {
    const linears = Array.from({ length: layers }, (_, i) => 2 * i);
    // The blocks are numbered behind N linear maps and the N − 1 activations between them.
    const places = Array.from({ length: blocks }, (_, j) => p.at(2 * layers - 1 + j));
    return mapTokens(places.reduce((x, place) => residualBlock(place, x), mlp(p, onlyMap(maps), { linears, width })));
  },
});

function residualBlock(p: Params, x: FeatureMap): FeatureMap {
  const y = layerNorm(p.at('pre_norm'), x, { eps: 1e-5 });
  const size = y.size('c');
  return y.add(linear(p.at('proj', 2), gelu(linear(p.at('proj', 0), y, 'c', { size }), 'exact'), 'c', { size }));
}
