// LLaVA-NeXT's pictures: on the canvas that suits them best, cut into tiles.
import { OpabiniaError } from '../../dsl/error.ts';
import { windowOf } from './crop.ts';
import type { Filter, Image } from './image.ts';
import { resizeTo } from './resize-to.ts';

export type Canvas = readonly [height: number, width: number];

/** The canvas that keeps the most of a picture, and of equals the one that wastes the least. Throws `OpabiniaError` when there is none. */
export function bestCanvas(
  picture: { readonly width: number; readonly height: number },
  canvases: readonly Canvas[],
): Canvas {
  const scored = canvases.map((canvas) => {
    const [height, width] = canvas;
    const scale = Math.min(width / picture.width, height / picture.height);
    const kept = Math.min(
      Math.trunc(picture.width * scale) * Math.trunc(picture.height * scale),
      picture.width * picture.height,
    );
    return { canvas, kept, wasted: width * height - kept };
  });
  const [best] = scored.sort((a, b) => b.kept - a.kept || a.wasted - b.wasted);
  if (best === undefined)
    throw new OpabiniaError('there is no canvas to put a picture on', {
      op: 'anyres',
      advice: 'give image_grid_pinpoints',
    });
  return best.canvas;
}

export interface Tiles {
  /** The whole picture as one tile, then the tiles of the canvas, row by row. */
  readonly tiles: readonly Image[];
  readonly rows: number;
  readonly columns: number;
  readonly canvas: Canvas;
}

/** LLaVA-NeXT's `anyres`: the picture, its sides kept in proportion, centred on black on the best canvas, cut into square tiles. Throws `OpabiniaError`. */
export function anyresTiles(
  image: Image,
  canvases: readonly Canvas[],
  tile: number,
  filter: Filter = 'bicubic',
): Tiles {
  const canvas = bestCanvas(image, canvases);
  const [height, width] = canvas;
  if (height % tile !== 0 || width % tile !== 0)
    throw new OpabiniaError(`a canvas of ${height} × ${width} does not divide into tiles of ${tile}`, {
      op: 'anyres',
      advice: 'image_grid_pinpoints are multiples of the tower’s picture',
    });
  const [byWidth, byHeight] = [width / image.width, height / image.height];
  const fitted =
    byWidth < byHeight
      ? resizeTo(image, width, Math.max(1, Math.min(Math.ceil(image.height * byWidth), height)), filter)
      : resizeTo(image, Math.max(1, Math.min(Math.ceil(image.width * byHeight), width)), height, filter);
  const placed = windowOf(
    fitted,
    -Math.floor((width - fitted.width) / 2),
    -Math.floor((height - fitted.height) / 2),
    width,
    height,
  );
  const [rows, columns] = [height / tile, width / tile];
  const cut = Array.from({ length: rows * columns }, (_, i) =>
    windowOf(placed, (i % columns) * tile, Math.floor(i / columns) * tile, tile, tile),
  );
  return { tiles: [resizeTo(image, tile, tile, filter), ...cut], rows, columns, canvas };
}
