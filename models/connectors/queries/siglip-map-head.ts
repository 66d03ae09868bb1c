// SigLIP's pooling head: one learned probe attends to all patches; an MLP. A baseline of a single token.
import { layerNorm, linear } from '../../../dsl/index.ts';
import { packedAttention, tokensOf } from '../../parts/attention.ts';
import { activate } from '../../parts/mlp.ts';
import { learnedTokens } from '../../parts/visual-abstractor.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { tokensOfQueries } from '../visual-tokens.ts';

export interface SiglipMapHeadConfig {
  readonly heads: number;
  readonly intermediate: number;
  readonly eps: number;
  /** Whether a linear map to the language model follows. */
  readonly projector: boolean;
}

export const siglipMapHead = connector<SiglipMapHeadConfig>({
  name: 'siglip-map-head',
  title: 'SigLIP attention pooling head',
  paper: 'arXiv 2303.15343',
  year: 2023,
  source: 'huggingface/transformers models/siglip/modeling_siglip.py SiglipMultiheadAttentionPoolingHead',
  mathematics: ['r = MHA(probe; x)', 's = r + W₂ gelu_tanh(W₁ LN r)', 'y = W s'],
  towers: 'one',
  presets: {
    'siglip-so400m-384': {
      config: { heads: 16, intermediate: 4304, eps: 1e-6, projector: true },
      maps: [[27, 27, 1152]],
      width: 4096,
    },
  },
  build: (p, maps, { heads, intermediate, eps, projector }, { width, inspect }) => {
    const map = onlyMap(maps);
    const x = tokensOf(map);
    const probe = learnedTokens(p, 'probe', map, { q: 1, c: map.size('c') });
    const read = packedAttention(p.at('attention'), probe, x, x, { heads });
    const normed = layerNorm(p.at('layernorm'), read, { eps });
    const inner = activate(linear(p.at('mlp', 'fc1'), normed, 'c', { size: intermediate }), 'gelu-tanh');
    const pooled = read.add(linear(p.at('mlp', 'fc2'), inner, 'c', { size: map.size('c') }));
    inspect?.('pooled', pooled);
    return tokensOfQueries(projector ? linear(p.at('mm_projector'), pooled, 'c', sized(width)) : pooled);
  },
});
