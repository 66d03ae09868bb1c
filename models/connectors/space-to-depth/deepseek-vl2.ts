// DeepSeek-VL2: squares of patches unfolded (channel, row, column) and an MLP, or a pooling map first; rows end with a newline.
import { linear } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import { croppedTo, otherMerges, paddedTo, spaceToDepth } from '../../parts/space-to-depth.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens, rowsEndedBy, toLanguage } from '../visual-tokens.ts';

export interface DeepSeekVl2Config {
  /** `downsample_ratio`; a grid that does not divide is padded with zeros, in the form `pooling` cut off instead. */
  readonly merge: number;
  /** Linear maps of the MLP. */
  readonly depth: number;
  /** Width inside over that of the language model. */
  readonly ratio: number;
  /** downsample: the MLP takes the squares. pooling: `token_pooling_layer` makes one patch of a square first. */
  readonly form: 'downsample' | 'pooling';
  /** Whether `image_newline` stands behind each row. */
  readonly newline: boolean;
}

const released = { merge: 2, depth: 2, ratio: 1, form: 'downsample', newline: true } as const;

export const deepseekVl2 = connector<DeepSeekVl2Config>({
  name: 'deepseek-vl2',
  title: 'DeepSeek-VL2',
  paper: 'arXiv 2412.10302',
  year: 2024,
  source: 'deepseek-ai/DeepSeek-VL2 deepseek_vl2/models/modeling_deepseek_vl_v2.py MlpProjector',
  mathematics: [
    's = unfold_2×2(pad x), channel outermost',
    'y = W_d gelu(… gelu(W₁ s))',
    'tokens: each row of y, newline',
  ],
  towers: 'one',
  presets: {
    'deepseek-vl2': { config: released, maps: [[27, 27, 1152]], width: 2560 },
    'deepseek-vl2-small': { config: released, maps: [[27, 27, 1152]], width: 2048 },
    'deepseek-vl2-tiny': { config: released, maps: [[27, 27, 1152]], width: 1280 },
  },
  variants: otherMerges,
  build: (p, maps, { merge, depth, ratio, form, newline }, { width }) => {
    const map = onlyMap(maps);
    const whole = form === 'pooling' ? croppedTo(map, merge) : paddedTo(map, merge);
    const squares = spaceToDepth(whole, merge, 'channels-rows-columns');
    const x = form === 'pooling' ? linear(p.at('token_pooling_layer'), squares, 'c', { size: map.size('c') }) : squares;
    const linears = Array.from({ length: depth }, (_, i) => `layers.${2 * i}`);
    const y = mlp(p, x, { linears, width, hidden: width === undefined ? undefined : ratio * width });
    if (!newline) return mapTokens(y);
    return rowsEndedBy(toLanguage(y), p.get('image_newline', 'e', { e: y.size('c') }));
  },
});
