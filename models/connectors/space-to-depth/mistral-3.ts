// Mistral Small 3: RMSNorm of each patch, squares of patches merged by one matrix (channel, row, column), a two-layer MLP.
import { linear } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import { norm } from '../../parts/norms.ts';
import { otherMerges, spaceToDepth } from '../../parts/space-to-depth.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface Mistral3Config {
  /** `spatial_merge_size`. */
  readonly merge: number;
  readonly eps: number;
  /** Of the MLP; the merging map has none. */
  readonly bias: boolean;
}

export const mistral3 = connector<Mistral3Config>({
  name: 'mistral-3',
  title: 'Mistral Small 3 patch merger',
  paper: 'https://mistral.ai/news/mistral-small-3-1',
  year: 2025,
  source: 'huggingface/transformers models/mistral3/modeling_mistral3.py Mistral3MultiModalProjector',
  mathematics: ['s = W₀ unfold(RMS(x)),  W₀: 4C → C', 'y = W₂ gelu(W₁ s)'],
  towers: 'one',
  presets: {
    'mistral-small-3.1-24b': {
      config: { merge: 2, eps: 1e-5, bias: false },
      maps: [[36, 36, 1024]],
      width: 5120,
    },
  },
  variants: otherMerges,
  build: (p, maps, config, context) => {
    const { merge, eps, bias } = config;
    const map = onlyMap(maps);
    const squares = spaceToDepth(norm(p, map, { kind: 'rms', path: 'norm', eps }), merge, 'channels-rows-columns');
    const merged = linear(p.at('patch_merger', 'merging_layer'), squares, 'c', { size: map.size('c'), bias: false });
    return mapTokens(mlp(p, merged, { linears: ['linear_1', 'linear_2'], width: context.width, bias }));
  },
});
