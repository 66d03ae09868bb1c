// Gemma 4: patches are averaged by their positions, scaled by √C, normed without a scale, and mapped.
import {
  avgPool2d,
  einsum,
  floor,
  linear,
  reduce,
  repeat,
  type Float,
  type Params,
  type Tensor,
} from '../../../dsl/index.ts';
import { norm } from '../../parts/norms.ts';
import { requireSquares } from '../../parts/space-to-depth.ts';
import { sized, type FeatureMap } from '../../sequence/regions.ts';
import { connector, onlyMap } from '../connector.ts';
import { mapTokens } from '../visual-tokens.ts';

export interface Gemma4Config {
  /** Side of the square of patches that becomes one token. */
  readonly kernel: number;
  readonly eps: number;
}

export const gemma4 = connector<Gemma4Config>({
  name: 'gemma-4',
  title: 'Gemma 4 pooling by positions',
  paper: 'https://ai.google.dev/gemma/docs',
  year: 2026,
  source: 'huggingface/transformers models/gemma4/modeling_gemma4.py Gemma4VisionPooler, Gemma4MultimodalEmbedder',
  mathematics: ['s = √C · Σ_{patches of a k × k cell} x / k²', 'y = W s / rms(s)'],
  towers: 'one',
  presets: {
    'gemma-4-e4b': { config: { kernel: 3, eps: 1e-6 }, maps: [[48, 48, 768]], width: 2560 },
    'gemma-4-31b': { config: { kernel: 3, eps: 1e-6 }, maps: [[48, 48, 1152]], width: 5376 },
  },
  variants: (config) => [1, 2, 3, 4, 6, 8].map((kernel) => ({ ...config, kernel })),
  build: (p, maps, { kernel, eps }, { width }) => {
    const map = onlyMap(maps);
    requireSquares('gemma-4', map, kernel);
    const pooled = avgPool2d(map.cast('f32'), { kernel, stride: kernel }).mul(Math.sqrt(map.size('c')));
    return mapTokens(gemma4Projected(p, pooled.cast(map.dtype), eps, width));
  },
});

/** Normed without a scale and projected, as `embed_vision`. */
export function gemma4Projected(p: Params, pooled: FeatureMap, eps: number, width: number | undefined): FeatureMap {
  const normed = norm(p, pooled, { kind: 'rms-plain', path: '', eps });
  return linear(p.at('embed_vision', 'embedding_projection'), normed, 'c', { ...sized(width), bias: false });
}

export interface PositionPool {
  readonly kernel: number;
  /** Cells of the result. */
  readonly length: number;
}

/**
 * Grids of several sizes in one batch: patch (x, y) goes to the cell ⌊x/k⌋ + ⌊width/k⌋ ⌊y/k⌋, every cell is divided by k², also one
 * that the border cuts. `real` is false for padding, which counts nowhere; `valid` says which cells any patch went to, padding included,
 * which lies at (0, 0).
 */
export function pooledByPositions(
  features: Tensor<'b n c', Float>,
  positions: { readonly x: Tensor<'b n', 'i32'>; readonly y: Tensor<'b n', 'i32'>; readonly cells: Tensor<'k', 'i32'> },
  real: Tensor<'b n', 'bool'>,
  { kernel }: PositionPool,
): { readonly pooled: Tensor<'b k c', Float>; readonly valid: Tensor<'b k', 'i32'> } {
  const [x, y] = [positions.x.max(0), positions.y.max(0)];
  // Half a cell more: a quotient that should be whole may come out a little lower.
  const over = <S extends string>(n: Tensor<S, 'i32'>) => floor(n.cast('f32').add(0.5).div(kernel)).cast('i32');
  const columns = over(reduce(x, 'b n -> b', 'max').add(1));
  const cell = over(x).add(over(y).mul(columns));
  const k = positions.cells.size('k');
  const hits = repeat(cell, 'b n -> b n k', { k }).eq(positions.cells);
  const weights = hits.cast('f32').mul(1 / kernel ** 2);
  const shown = features.cast('f32').where(real, 0);
  const pooled = einsum(weights, shown, 'b n k, b n c -> b k c').mul(Math.sqrt(features.size('c')));
  return { pooled: pooled.cast(features.dtype), valid: reduce(hits.cast('i32'), 'b n k -> b k', 'max') };
}
