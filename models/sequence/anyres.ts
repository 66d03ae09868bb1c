// Pictures of any size (`anyres`) of LLaVA-NeXT and OneVision: a canvas is chosen, cut into tiles, and the tokens of the tiles are put together again.
import { concat, OpabiniaError, rearrange, repeat, resize, slice, type Float, type Tensor } from '../../dsl/index.ts';
import { newlineSlot } from './collate.ts';
import type { Crop, PictureSize } from './masks.ts';
import { cropGrid, imageTokens } from './newline.ts';
import type { Grid } from '../towers/tower.ts';

/** Height and width in pixels of what a picture may be put on: an entry of `image_grid_pinpoints`. */
export type Canvas = readonly [height: number, width: number];

/** Those of LLaVA-NeXT where a config names none, and of LLaVA-OneVision. */
export const nextCanvases: readonly Canvas[] = [
  [336, 672],
  [672, 336],
  [672, 672],
  [1008, 336],
  [336, 1008],
];
export const oneVisionCanvases: readonly Canvas[] = Array.from({ length: 36 }, (_, i) => [
  384 * (Math.floor(i / 6) + 1),
  384 * ((i % 6) + 1),
]);

export interface AnyresOptions {
  readonly canvases: readonly Canvas[];
  /** Side in pixels of a tile, which is the picture that the tower was made for. */
  readonly tile: number;
  /** Side of the grid of tokens that the tower gives of a tile. */
  readonly side: number;
  /** `anyres_max_N` of LLaVA-OneVision: an area of clearly more than N tiles' tokens is resized to about N. */
  readonly limit?: number | undefined;
}

/** How a picture of one size is seen. The views are the whole picture, then the tiles of the canvas row by row. */
export interface AnyresLayout {
  readonly canvas: Canvas;
  readonly tiles: Grid;
  readonly side: number;
  /** The part of the canvas's tokens that shows the picture and not the margins. */
  readonly area: Crop;
  /** What the area is resized to. */
  readonly small: Grid | undefined;
  readonly views: number;
  /** Tokens of the language model: those of the whole picture, then those of the area with a newline after each row. */
  readonly tokens: number;
}

/**
 * The layout of a picture. Sizes are computed with the reference's own order of floating-point operations, which decides ties.
 * Throws `OpabiniaError` for a size that is not a picture's, and for a picture so long that the reference would keep no token of its tiles.
 */
export function anyresLayout(picture: PictureSize, options: AnyresOptions): AnyresLayout {
  const { tile, side, limit } = options;
  checkPicture(picture);
  const canvas = bestCanvas(picture, options.canvases);
  const [rows, columns] = [canvas[0] / tile, canvas[1] / tile];
  if (!Number.isInteger(rows) || !Number.isInteger(columns))
    throw new OpabiniaError(`a canvas of ${canvas[0]} × ${canvas[1]} does not divide into tiles of ${tile}`, {
      op: 'anyres',
      advice: 'image_grid_pinpoints are multiples of the picture size of the tower',
    });
  const area = unpadded(picture, [rows * side, columns * side]);
  const small = limit === undefined ? undefined : shrunk(area, limit * side * side);
  const [height, width] = small ?? [area.height, area.width];
  if (height === 0 || width === 0) throw extreme(picture, height === 0 ? columns * side : rows * side);
  return {
    canvas,
    tiles: [rows, columns],
    side,
    area,
    small,
    views: 1 + rows * columns,
    tokens: side * side + height * (width + 1),
  };
}

function checkPicture({ width, height }: PictureSize): void {
  if (![width, height].every((n) => Number.isSafeInteger(n) && n > 0))
    throw new OpabiniaError(`a picture of ${width} × ${height} is not of whole pixels`, {
      op: 'anyres',
      advice: 'give positive whole numbers',
    });
}

function extreme({ width, height }: PictureSize, limit: number): OpabiniaError {
  const ratio = Math.max(width, height) / Math.min(width, height);
  return new OpabiniaError(
    `a picture of ${width} × ${height} is ${ratio.toFixed(1)} times as long as it is ${width > height ? 'high' : 'wide'}: no token of its tiles would show it`,
    { op: 'anyres', advice: `crop it to at most ${limit} times` },
  );
}

/**
 * The canvas on which most pixels of the picture are kept, among equals the one that wastes the fewest, then the first
 * (`select_best_resolution`). Throws `OpabiniaError` where there is none.
 */
export function bestCanvas({ width, height }: PictureSize, canvases: readonly Canvas[]): Canvas {
  let best: { readonly canvas: Canvas; readonly kept: number; readonly wasted: number } | undefined;
  for (const canvas of canvases) {
    const scale = Math.min(canvas[1] / width, canvas[0] / height);
    const kept = Math.min(Math.trunc(width * scale) * Math.trunc(height * scale), width * height);
    const wasted = canvas[0] * canvas[1] - kept;
    if (best === undefined || kept > best.kept || (kept === best.kept && wasted < best.wasted))
      best = { canvas, kept, wasted };
  }
  if (best === undefined)
    throw new OpabiniaError('there is no canvas to put a picture on', {
      op: 'anyres',
      advice: 'the config must have image_grid_pinpoints',
    });
  return best.canvas;
}

/** The rows and columns of a grid over the whole canvas that show the picture (`unpad_image`); of extreme pictures none. */
export function unpadded({ width, height }: PictureSize, [rows, columns]: Grid): Crop {
  if (width / height > columns / rows) {
    const top = Math.floor((rows - shown(height, columns / width)) / 2);
    return { top, left: 0, height: rows - 2 * top, width: columns };
  }
  const left = Math.floor((columns - shown(width, rows / height)) / 2);
  return { top: 0, left, height: rows, width: columns - 2 * left };
}

/** `int(round(size * scale, 7))` */
function shown(size: number, scale: number): number {
  return Math.trunc(Number((size * scale).toFixed(7)));
}

/**
 * What stands in each of the picture's places in the sequence: token `view · side² + row · side + column` or `newlineSlot`. `first`
 * is the picture's first view among all.
 */
export function anyresSlots(layout: Omit<AnyresLayout, 'small'>, first: number): readonly number[] {
  return anyresPlaces({ ...layout, small: undefined }, first).map((place) =>
    typeof place === 'number' ? place : place.slot,
  );
}

/** How much further than a token the ones to the right and below stand, and which part of the way to them a place is, in 2⁻²⁴. */
export const betweenNames = ['right', 'rightPart', 'below', 'belowPart'] as const;
export type Between = Readonly<Record<(typeof betweenNames)[number], number>>;

/** What stands in a place of the sequence: a slot, or what lies between the token of one, its right neighbour and those below. */
export type Place = number | (Between & { readonly slot: number });

/** `anyresSlots` of a picture whose area may be resized, bilinearly as \`interpolate\` does. */
export function anyresPlaces(layout: AnyresLayout, first: number): readonly Place[] {
  const { tiles, side, area, small } = layout;
  const each = side * side;
  const [height, width] = small ?? [area.height, area.width];
  const base = Array.from({ length: each }, (_, i): Place => first * each + i);
  const across = samples(area.width, width, (x) => {
    const column = area.left + x;
    return Math.floor(column / side) * each + (column % side);
  });
  const down = samples(area.height, height, (y) => {
    const row = area.top + y;
    return (first + 1 + Math.floor(row / side) * tiles[1]) * each + (row % side) * side;
  });
  const rows = down.map(({ at, step: below, part: belowPart }) => [
    ...across.map(({ at: column, step: right, part: rightPart }): Place =>
      small === undefined ? at + column : { slot: at + column, right, rightPart, below, belowPart },
    ),
    newlineSlot,
  ]);
  return [...base, ...rows.flat()];
}

/** Bilinear samples along an axis: where the token before each stands, how far from it the next one, and the part of that way in 2⁻²⁴. */
function samples(
  from: number,
  to: number,
  placeOf: (i: number) => number,
): readonly { readonly at: number; readonly step: number; readonly part: number }[] {
  return Array.from({ length: to }, (_, i) => {
    const position = Math.max(0, (from / to) * (i + 0.5) - 0.5);
    const low = Math.floor(position);
    const at = placeOf(low);
    return { at, step: placeOf(Math.min(low + 1, from - 1)) - at, part: Math.round((position - low) * 2 ** 24) };
  });
}

export interface PackOptions {
  /** Absent for a picture of one view, which has a single newline behind its tokens. */
  readonly layout?: Pick<AnyresLayout, 'tiles' | 'area'> | undefined;
  /** As `AnyresOptions` has it. */
  readonly limit?: number | undefined;
}

/**
 * The tokens of one picture from those of its views, put together in the graph, where all pictures have one size. Otherwise
 * `anyresPlaces` serves every size with one graph.
 */
export function packViews(
  views: Tensor<'v h w e', Float>,
  newline: Tensor<'e', Float>,
  { layout, limit }: PackOptions,
): Tensor<'s e', Float> {
  const base = rearrange(views.at('v', 0), 'h w e -> s=(h w) e');
  if (layout === undefined) return concat([base, repeat(newline, 'e -> s e', { s: 1 })], 's');
  const whole = rearrange(slice(views, 'v', { start: 1 }), '(y x) h=(i) w=(j) e -> h=(y i) w=(x j) e', {
    y: layout.tiles[0],
    x: layout.tiles[1],
  });
  const area = cropGrid(repeat(whole, 'h w e -> b h w e', { b: 1 }), layout.area);
  const small = limit === undefined ? undefined : shrunk(layout.area, limit * views.size('h') * views.size('w'));
  const map = small === undefined ? area : resize(area, { height: small[0], width: small[1], mode: 'bilinear' });
  return concat([base, imageTokens(map, newline).at('b', 0)], 's');
}

/** The grid that an area is resized to; undefined where it has few enough tokens as it is. */
export function shrunk({ height, width }: Crop, tokens: number): Grid | undefined {
  const ratio = Math.sqrt((height * width) / tokens);
  return ratio > 1.1 ? [wholeQuotient(height, ratio), wholeQuotient(width, ratio)] : undefined;
}

/** Python's `a // b`: by the exact remainder, where the rounded quotient may be one too large. */
function wholeQuotient(a: number, b: number): number {
  return Math.round((a - (a % b)) / b);
}
