// Tiles of one picture, put together row by row.
import { concat, OpabiniaError } from '../../dsl/index.ts';
import type { FeatureMap } from '../sequence/regions.ts';

/** Rows and columns of tiles. */
export type Tiling = readonly [rows: number, columns: number];

/** Maps of tiles, row by row, as one map. Throws `OpabiniaError` where their number is not that of the tiling. */
export function stitched(tiles: readonly FeatureMap[], [rows, columns]: Tiling): FeatureMap {
  if (tiles.length !== rows * columns)
    throw new OpabiniaError(`${tiles.length} tiles for ${rows} × ${columns}`, {
      op: 'stitched',
      advice: 'give one map for each tile, row by row',
    });
  const lines = Array.from({ length: rows }, (_, i) => concat(tiles.slice(i * columns, (i + 1) * columns), 'w'));
  return concat(lines, 'h');
}

/** The tiling of as many tiles as there are that is nearest to a square; rows before columns. */
export function squareTiling(tiles: number): Tiling {
  const rows = Array.from({ length: tiles }, (_, i) => i + 1).filter((n) => tiles % n === 0 && n * n <= tiles);
  const most = rows.at(-1) ?? 1;
  return [most, tiles / most];
}
