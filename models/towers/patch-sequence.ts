// Pictures of any size as one sequence of patches, squares of patches behind one another: where each stands, and what follows from that.
import {
  concat,
  constantLike,
  gather,
  rearrange,
  repeat,
  type Float,
  type Params,
  type Tensor,
} from '../../dsl/index.ts';
import { resizedTable, type Tokens } from './vit.ts';

/** Frames, rows and columns of patches of one picture; a still one has one frame, of two equal pictures. */
export type FrameGrid = readonly [frames: number, rows: number, columns: number];

/** Where each patch of a sequence stands, in the order of the sequence. */
export interface Place {
  readonly row: number;
  readonly column: number;
  /** Number of its frame, over all pictures. */
  readonly frame: number;
  /** Number of its window, over all frames. */
  readonly window: string;
}

/** Squares row by row, patches row by row inside; grids are multiples of `merge`. */
export function placesOf(grids: readonly FrameGrid[], merge: number, window: number): readonly Place[] {
  const places: Place[] = [];
  let frame = 0;
  for (const [frames, rows, columns] of grids)
    for (let f = 0; f < frames; f++, frame++)
      for (let n = 0; n < rows * columns; n++) {
        const square = Math.floor(n / merge ** 2);
        const inside = n % merge ** 2;
        const [y, x] = [Math.floor(square / (columns / merge)), square % (columns / merge)];
        places.push({
          row: y * merge + Math.floor(inside / merge),
          column: x * merge + (inside % merge),
          frame,
          window: [frame, Math.floor(y / window), Math.floor(x / window)].map((i) => String(i).padStart(6, '0')).join(),
        });
      }
  return places;
}

/** The order of windows, one behind the other: numbers of places. Patches keep their order inside a window. */
export function windowOrder(places: readonly Place[]): readonly number[] {
  const window = (i: number): string => places[i]?.window ?? '';
  return Array.from(places.keys()).toSorted((a, b) => window(a).localeCompare(window(b)) || a - b);
}

/** Tokens of one sequence in another order. */
export function reordered(x: Tokens, order: readonly number[]): Tokens {
  const at = constantLike(x, order, 'n', { n: order.length }, 'i32');
  return repeat(gather(rearrange(x, 'b n c -> m=(b n) c'), at, 'm'), 'n c -> b n c', { b: 1 });
}

/** True where two patches have the same number. */
export function same(like: Tensor, numbers: readonly number[]): Tensor<'n t', 'bool'> {
  const n = constantLike(like, numbers, 'n', { n: numbers.length }, 'i32');
  const t = constantLike(like, numbers, 't', { t: numbers.length }, 'i32');
  return repeat(n, 'n -> n t', { t: numbers.length }).eq(t);
}

/** The learned table on each picture's grid, in the order of the sequence; frames share positions. */
export function tablePositions(
  p: Params,
  grids: readonly FrameGrid[],
  places: readonly Place[],
  config: { readonly positions: number; readonly width: number },
): Tensor<'n c', Float> {
  const side = Math.round(Math.sqrt(config.positions));
  const table = p.at('pos_embed').get('weight', 'n c', { n: config.positions, c: config.width });
  const map = rearrange(table, '(h w) c -> h w c', { h: side });
  let start = 0;
  const parts = grids.map(([frames, height, width]) => {
    const own = places.slice(start, start + frames * height * width);
    start += own.length;
    const whole = rearrange(resizedTable(map, [height, width], 'corners'), 'h w c -> m=(h w) c');
    const at = own.map(({ row, column }) => row * width + column);
    return gather(whole, constantLike(table, at, 'n', { n: at.length }, 'i32'), 'm');
  });
  return concat(parts, 'n');
}
