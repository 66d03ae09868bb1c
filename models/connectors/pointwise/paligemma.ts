// PaliGemma: one linear map, divided by the root of the language model's width, which its embedding multiplies again.
import { mlp } from '../../parts/mlp.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface PaliGemmaConfig {
  /** Divide by √width, as the model around the projector does. */
  readonly scaled: boolean;
}

export const paligemma = connector<PaliGemmaConfig>({
  name: 'paligemma',
  title: 'PaliGemma',
  paper: 'arXiv 2407.07726',
  year: 2024,
  source: 'huggingface/transformers models/paligemma/modeling_paligemma.py PaliGemmaMultiModalProjector',
  mathematics: ['y = (W x + b) / √H'],
  towers: 'one',
  presets: {
    'paligemma-3b-224': { config: { scaled: true }, maps: [[16, 16, 1152]], width: 2048 },
    'paligemma-3b-448': { config: { scaled: true }, maps: [[32, 32, 1152]], width: 2048 },
    'paligemma2-10b-224': { config: { scaled: true }, maps: [[16, 16, 1152]], width: 3584 },
  },
  build: (p, maps, { scaled }, { width }) => {
    const y = mlp(p, onlyMap(maps), { linears: ['linear'], width });
    return mapTokens(scaled ? y.mul(1 / Math.sqrt(y.size('c'))) : y);
  },
});
