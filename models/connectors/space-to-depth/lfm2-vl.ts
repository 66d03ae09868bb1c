// LFM2-VL: squares of patches, LayerNorm (or none), a two-layer MLP.
import { merger, otherMerges } from '../../parts/space-to-depth.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface Lfm2VlConfig {
  readonly merge: number;
  readonly hidden?: number | undefined;
  /** `projector_use_layernorm`. */
  readonly normed: boolean;
  readonly eps: number;
  /** `projector_bias`: whether the MLP has biases; it has unless told otherwise. */
  readonly bias?: boolean | undefined;
}

export const lfm2vl = connector<Lfm2VlConfig>({
  name: 'lfm2-vl',
  title: 'LFM2-VL',
  paper: 'https://www.liquid.ai/blog/lfm2-vl-efficient-vision-language-models',
  year: 2025,
  source: 'huggingface/transformers models/lfm2_vl/modeling_lfm2_vl.py Lfm2VlMultiModalProjector',
  mathematics: ['y = W₂ gelu(W₁ LN(s2d(x)))'],
  towers: 'one',
  presets: {
    'lfm2-vl-1.6b': {
      config: { merge: 2, hidden: 2560, normed: true, eps: 1e-5 },
      maps: [[32, 32, 1152]],
      width: 2048,
    },
    'lfm2-vl-450m': {
      config: { merge: 2, hidden: 2560, normed: true, eps: 1e-5 },
      maps: [[32, 32, 768]],
      width: 1024,
    },
  },
  variants: otherMerges,
  build: (p, maps, config, context) => {
    const { merge, hidden, eps, normed, bias } = config;
    const norm = normed ? ({ kind: 'layer', path: 'layer_norm', eps, place: 'after' } as const) : undefined;
    const linears = ['linear_1', 'linear_2'];
    return mapTokens(merger(p, onlyMap(maps), { merge, hidden, norm, linears, bias }, context));
  },
});
