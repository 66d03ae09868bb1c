// Moondream: the whole picture beside its crops, which are stitched together and pooled to the same grid, then an MLP.
import { adaptiveAvgPool2d, concat } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface MoondreamConfig {
  readonly hidden?: number | undefined;
}

export const moondream = connector<MoondreamConfig>({
  name: 'moondream',
  title: 'Moondream',
  paper: 'https://github.com/vikhyat/moondream',
  year: 2025,
  source: 'vikhyat/moondream moondream/torch/vision.py vision_projection',
  mathematics: ['x = [global ; pool(local)] along channels', 'y = W₂ gelu_tanh(W₁ x)'],
  towers: 'views',
  presets: {
    'moondream2-2x2-crops': {
      config: { hidden: 8192 },
      // Crops of 27 × 27 patches that overlap by 8, stitched without the margins.
      maps: [
        [27, 27, 1152],
        [46, 46, 1152],
      ],
      width: 2048,
    },
  },
  build: (p, maps, { hidden }, { width }) => {
    const whole = onlyMap(maps);
    // A picture of one crop is both.
    const local = maps[1] ?? whole;
    const pooled = adaptiveAvgPool2d(local, { height: whole.size('h'), width: whole.size('w') });
    return mapTokens(
      mlp(p.at('proj_mlp'), concat([whole, pooled], 'c'), {
        linears: ['fc1', 'fc2'],
        hidden: hidden ?? width,
        width,
        activation: 'gelu-tanh',
      }),
    );
  },
});
