// Llama 4: squares of patches through an MLP with GELU behind both maps, then a linear map; no biases.
import { linear } from '../../../dsl/index.ts';
import { activate, mlp } from '../../parts/mlp.ts';
import { otherMerges, spaceToDepth } from '../../parts/space-to-depth.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface Llama4Config {
  /** 1 / `pixel_shuffle_ratio`. */
  readonly merge: number;
  /** Width of the adapter (`projector_input_dim`); with a checkpoint it may be left to that. */
  readonly hidden?: number | undefined;
}

export const llama4 = connector<Llama4Config>({
  name: 'llama-4',
  title: 'Llama 4',
  paper: 'https://ai.meta.com/blog/llama-4-multimodal-intelligence/',
  year: 2025,
  source: 'huggingface/transformers models/llama4/modeling_llama4.py Llama4VisionPixelShuffleMLP',
  mathematics: ['u = gelu(W₂ gelu(W₁ s2d(x)))', 'y = W₃ u'],
  towers: 'one',
  presets: {
    'llama-4-scout': { config: { merge: 2, hidden: 4096 }, maps: [[24, 24, 1408]], width: 5120 },
  },
  variants: otherMerges,
  build: (p, maps, { merge, hidden }, { width, inspect }) => {
    const options = { linears: ['fc1', 'fc2'], width: hidden, bias: false };
    const u = activate(mlp(p.at('vision_adapter', 'mlp'), spaceToDepth(onlyMap(maps), merge), options), 'gelu');
    inspect?.('adapter', u);
    return mapTokens(linear(p.at('multi_modal_projector', 'linear_1'), u, 'c', { ...sized(width), bias: false }));
  },
});
