// nanoVLM: squares of patches side by side, one linear map without a bias.
import { merger, otherMerges } from '../../parts/space-to-depth.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface NanoVlmConfig {
  /** `mp_pixel_shuffle_factor`. */
  readonly merge: number;
}

export const nanovlm = connector<NanoVlmConfig>({
  name: 'nanovlm',
  title: 'nanoVLM',
  paper: 'https://github.com/huggingface/nanoVLM',
  year: 2025,
  source: 'huggingface/nanoVLM models/modality_projector.py',
  mathematics: ['y = W s2d(x)'],
  towers: 'one',
  presets: {
    'nanovlm-450m': { config: { merge: 4 }, maps: [[32, 32, 768]], width: 960 },
    'nanovlm-222m': { config: { merge: 2 }, maps: [[14, 14, 768]], width: 576 },
  },
  variants: otherMerges,
  build: (p, maps, config, context) =>
    mapTokens(merger(p, onlyMap(maps), { merge: config.merge, linears: ['proj'], bias: false }, context)),
});
