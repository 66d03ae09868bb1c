// InternVL cuts a picture into tiles on the canvas whose sides are most like its own, the whole of it behind them (`GotOcr2ImageProcessor` of transformers).
import { z } from 'zod';
import { OpabiniaError } from '../../dsl/error.ts';
import { resizePillow, type Filter, type Image } from './image.ts';
import { cropImage } from './pan-and-scan.ts';
import type { SplitPicture } from './split-picture.ts';

export interface TileRules {
  /** Tiles that a picture is cut into. */
  readonly least: number;
  readonly most: number;
  /** Side of a tile. */
  readonly tile: number;
  readonly filter: Filter;
}

const count = z.int().min(1).max(256).nullish();
const schema = z.looseObject({ min_patches: count, max_patches: count });

/** Absent fields have the class's values. Throws `OpabiniaError`. */
export function readTileRules(json: unknown, where: string): Pick<TileRules, 'least' | 'most'> {
  const read = schema.safeParse(json);
  if (read.success) return { least: read.data.min_patches ?? 1, most: read.data.max_patches ?? 12 };
  throw new OpabiniaError(`${where} is wrong at '${(read.error.issues[0]?.path ?? []).join('.')}'`, {
    op: 'preprocess',
    advice: 'the file is damaged, or of another processor',
  });
}

/** A picture on a canvas of one tile is that tile alone. */
export function tilePicture(image: Image, rules: TileRules): SplitPicture {
  const { tile, filter } = rules;
  const [columns, rows] = bestTiles(image, rules);
  const cells = rows * columns;
  const whole = (): Image => resizePillow(image, tile, tile, filter);
  return {
    views: cells === 1 ? 1 : cells + 1,
    rows,
    columns,
    images: () => {
      if (cells === 1) return [whole()];
      const canvas = resizePillow(image, columns * tile, rows * tile, filter);
      const tiles = Array.from({ length: cells }, (_, i) =>
        cropImage(canvas, {
          left: (i % columns) * tile,
          top: Math.floor(i / columns) * tile,
          width: tile,
          height: tile,
        }),
      );
      return [...tiles, whole()];
    },
  };
}

/** Columns and rows whose ratio is nearest to the picture's, of equals the last that it fills more than half. */
export function bestTiles(
  { width, height }: Pick<Image, 'width' | 'height'>,
  { least, most, tile }: TileRules,
): readonly [columns: number, rows: number] {
  let best: readonly [number, number] = [1, 1];
  let nearest = Infinity;
  // By their number, then by columns.
  for (let cells = least; cells <= most; cells++)
    for (let columns = 1; columns <= cells; columns++) {
      const rows = cells / columns;
      if (!Number.isInteger(rows)) continue;
      const difference = Math.abs(width / height - columns / rows);
      if (difference < nearest || (difference === nearest && width * height > 0.5 * tile * tile * cells))
        [best, nearest] = [[columns, rows], difference];
    }
  return best;
}
