// Idefics3 and SmolVLM: squares of patches side by side, one linear map without a bias.
import { merger, otherMerges } from '../../parts/space-to-depth.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface Idefics3Config {
  /** `scale_factor`: side of the square of patches that becomes one token. */
  readonly merge: number;
}

export const idefics3 = connector<Idefics3Config>({
  name: 'idefics3',
  title: 'Idefics3 and SmolVLM',
  paper: 'arXiv 2408.12637',
  year: 2024,
  source: 'huggingface/transformers models/idefics3/modeling_idefics3.py Idefics3Connector',
  mathematics: ['y = W s2d(x)'],
  towers: 'one',
  presets: {
    'idefics3-8b': { config: { merge: 2 }, maps: [[26, 26, 1152]], width: 4096 },
    'smolvlm-2.2b': { config: { merge: 3 }, maps: [[27, 27, 1152]], width: 2048 },
    'smolvlm-256m': { config: { merge: 4 }, maps: [[32, 32, 768]], width: 576 },
  },
  variants: otherMerges,
  build: (p, maps, config, context) =>
    mapTokens(
      merger(p, onlyMap(maps), { merge: config.merge, linears: ['modality_projection.proj'], bias: false }, context),
    ),
});
