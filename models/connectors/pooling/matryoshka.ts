// Matryoshka (M3): an MLP, then averages over squares; one model serves every number of tokens it was trained with.
import { avgPool2d, OpabiniaError } from '../../../dsl/index.ts';
import { mlp } from '../../parts/mlp.ts';
import { squaresNear } from '../../parts/token-budgets.ts';
import type { FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface MatryoshkaConfig {
  /** Tokens of this scale, a square: 1, 9, 36, 144 or 576 of CLIP's 24 × 24. */
  readonly scale: number;
}

export const matryoshka = connector<MatryoshkaConfig>({
  name: 'matryoshka',
  title: 'Matryoshka M3',
  paper: 'arXiv 2405.17430',
  year: 2024,
  source: 'mu-cai/matryoshka-mm llava/model/llava_arch.py matryoshka_vis_token_process',
  mathematics: ['u = W₂ gelu(W₁ x)', 'y = mean over squares of side √(N / scale)'],
  towers: 'one',
  presets: {
    'llava-1.5-7b-m3-144': { config: { scale: 144 }, maps: [[24, 24, 1024]], width: 4096 },
    'llava-1.5-7b-m3-36': { config: { scale: 36 }, maps: [[24, 24, 1024]], width: 4096 },
    'llava-1.5-7b-m3-9': { config: { scale: 9 }, maps: [[24, 24, 1024]], width: 4096 },
  },
  variants: (config, tokens) => [1, 9, 36, 144, 576, ...squaresNear(tokens)].map((scale) => ({ ...config, scale })),
  build: (p, maps, { scale }, { width }) =>
    mapTokens(squareMeans(mlp(p, onlyMap(maps), { linears: [0, 2], width }), scale)),
});

/** A map as `tokens` averages of squares. Throws `OpabiniaError` where the grid does not divide, with the numbers that do. */
export function squareMeans(map: FeatureMap, tokens: number): FeatureMap {
  const [rows, columns] = [map.size('h'), map.size('w')];
  const kernel = Math.sqrt((rows * columns) / tokens);
  if (!Number.isInteger(kernel) || rows % kernel !== 0 || columns % kernel !== 0) {
    const sides = Array.from({ length: rows }, (_, i) => i + 1).filter((k) => rows % k === 0 && columns % k === 0);
    const counts = sides.map((k) => (rows * columns) / k ** 2);
    counts.sort((a, b) => Math.abs(a - tokens) - Math.abs(b - tokens));
    throw new OpabiniaError(`a grid of ${rows}×${columns} has no ${tokens} squares`, {
      op: 'matryoshka',
      advice: `the nearest numbers are ${counts.slice(0, 2).join(' and ')}`,
    });
  }
  return kernel === 1 ? map : avgPool2d(map, { kernel, stride: kernel });
}
