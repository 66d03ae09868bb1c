// ViP-LLaVA: several layers of the tower side by side, a LayerNorm, a two-layer MLP.
import { concat, layerNorm } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import { connector, onlyMap, required } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface VipLlavaConfig {
  /** Hidden states of the tower, from the end where negative; none: the map has their channels already. */
  readonly layers: readonly number[];
  readonly eps: number;
}

export const vipLlava = connector<VipLlavaConfig>({
  name: 'vip-llava',
  title: 'ViP-LLaVA',
  paper: 'arXiv 2312.00784',
  year: 2023,
  source: 'huggingface/transformers models/vipllava/modeling_vipllava.py VipLlavaMultiModalProjector',
  mathematics: ['x = LN([h_{−2} ; h_{−5} ; h_{−8} ; h_{−11} ; h_6])', 'y = W₂ gelu(W₁ x)'],
  towers: 'one',
  presets: {
    'vip-llava-7b': { config: { layers: [-2, -5, -8, -11, 6], eps: 1e-5 }, maps: [[24, 24, 1024]], width: 4096 },
  },
  build: (p, maps, { layers, eps }, context) => {
    const hidden = (layer: number) => required(context, 'tower', 'vip-llava')(0).hidden(layer);
    const x = layers.length === 0 ? onlyMap(maps) : concat(layers.map(hidden), 'c');
    const normed = layerNorm(p.at('projector_layernorm'), x, { eps });
    return mapTokens(mlp(p, normed, { linears: ['linear_1', 'linear_2'], width: context.width }));
  },
});
