// Step3-VL: two strided convolutions, sixteen times fewer tokens, and a linear map.
import { conv2d, linear } from '../../../dsl/index.ts';
import { sized } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface Step3Config {
  /** Convolutions of stride 2; each doubles the channels. */
  readonly steps: number;
}

export const step3 = connector<Step3Config>({
  name: 'step3',
  title: 'Step3-VL',
  paper: 'arXiv 2507.19427',
  year: 2025,
  source: 'Blaizzy/mlx-vlm mlx_vlm/models/step3p7 (vit_downsampler1, vit_downsampler2, vit_large_projector)',
  mathematics: ['x ← conv_{3×3, stride 2}(x), C → 2C → 4C', 'y = W x'],
  towers: 'one',
  presets: {
    'step3-vl-10b': { config: { steps: 2 }, maps: [[52, 52, 1536]], width: 4096 },
  },
  variants: (config) => [0, 1, 2, 3].map((steps) => ({ ...config, steps })),
  build: (p, maps, { steps }, { width }) => {
    let x = onlyMap(maps);
    for (let i = 1; i <= steps; i++)
      x = conv2d(p.at(`vit_downsampler${i}`), x, { out: 'c', size: 2 * x.size('c'), kernel: 3, stride: 2, padding: 1 });
    return mapTokens(linear(p.at('vit_large_projector'), x, 'c', { ...sized(width), bias: false }));
  },
});
