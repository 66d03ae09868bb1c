// MiniMax-M3: each patch to the language model's width first, then squares of these through an MLP.
import { mlp } from '../../parts/mlp.ts';
import { otherMerges, spaceToDepth } from '../../parts/space-to-depth.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface MiniMaxM3Config {
  /** `spatial_merge_size`. */
  readonly merge: number;
  /** `projector_hidden_size`; with a checkpoint it may be left to that. */
  readonly hidden?: number | undefined;
}

export const minimaxM3 = connector<MiniMaxM3Config>({
  name: 'minimax-m3',
  title: 'MiniMax-M3',
  paper: 'https://huggingface.co/docs/transformers/model_doc/minimax_m3_vl',
  year: 2026,
  source: 'huggingface/transformers models/minimax_m3_vl/modeling_minimax_m3_vl.py MiniMaxM3VLMultiModalProjector',
  mathematics: ['u = W₂ gelu(W₁ x),  C → H', 'y = W₄ gelu(W₃ s2d(u)),  4H → H'],
  towers: 'one',
  presets: {
    'minimax-m3': { config: { merge: 2, hidden: 6144 }, maps: [[36, 36, 1280]], width: 6144 },
  },
  variants: otherMerges,
  build: (p, maps, { merge, hidden }, { width }) => {
    const options = { width, hidden: hidden ?? width };
    const u = mlp(p, onlyMap(maps), { ...options, linears: ['linear_1', 'linear_2'] });
    const merged = spaceToDepth(u, merge);
    return mapTokens(mlp(p, merged, { ...options, linears: ['merge_linear_1', 'merge_linear_2'] }));
  },
});
