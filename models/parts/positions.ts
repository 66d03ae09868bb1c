// Learned positions of a grid: a table of rows and one of columns.
import { rearrange, repeat, slice, type Float, type Tensor } from '../../dsl/index.ts';
import type { FeatureMap } from '../sequence/regions.ts';

type Table = Tensor<'k c', Float>;

/** The first rows of a table, one for each row of the map, at every column. */
export function rowPositions(table: Table, map: FeatureMap): Tensor<'h w c', Float> {
  const rows = rearrange(slice(table, 'k', { size: map.size('h') }), 'k c -> h=(k) c');
  return repeat(rows, 'h c -> h w c', { w: map.sizeOf('w') });
}

/** The first rows of a table, one for each column of the map, at every row. */
export function columnPositions(table: Table, map: FeatureMap): Tensor<'h w c', Float> {
  const columns = rearrange(slice(table, 'k', { size: map.size('w') }), 'k c -> w=(k) c');
  return repeat(columns, 'w c -> h w c', { h: map.sizeOf('h') });
}
