// From the grid of image tokens to the sequence the LLM reads: the unpadded part, a learned newline after every row.
import { concat, rearrange, repeat, slice, type Float, type Tensor } from '../../dsl/index.ts';
import type { Crop } from './masks.ts';

/** `area` of a grid. All images of the batch show the same part; for mixed batches see `embedSequence` in `models/cambrian.ts`. */
export function cropGrid(grid: Tensor<'b h w e', Float>, area: Crop): Tensor<'b h w e', Float> {
  return slice(slice(grid, 'h', { start: area.top, size: area.height }), 'w', { start: area.left, size: area.width });
}

/**
 * Inference layout with an `area` (`crop` in `masks.ts`): height·(width+1) tokens. Training layout without one: side·(side+1),
 * padding included.
 */
export function imageTokens(
  grid: Tensor<'b h w e', Float>,
  newline: Tensor<'e', Float>,
  area?: Crop,
): Tensor<'b s e', Float> {
  const shown = area === undefined ? grid : cropGrid(grid, area);
  const column = repeat(newline, 'e -> b h w e', { b: shown.sizeOf('b'), h: shown.sizeOf('h'), w: 1 });
  return rearrange(concat([shown, column], 'w'), 'b h w e -> b s=(h w) e');
}
