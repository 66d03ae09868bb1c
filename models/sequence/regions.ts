// Feature maps and the regions of them that the queries of a grid see.
import { rearrange, reduce, repeat, type Float, type Tensor } from '../../dsl/index.ts';
import { regionSide } from './masks.ts';
import { requireTensor } from '../../dsl/tensor.ts';

/** One encoder's tokens on that encoder's own grid. */
export type FeatureMap = Tensor<'b h w c', Float>;
/** Queries of a grid, row-major. */
export type Queries = Tensor<'b q c', Float>;
/** For each query, the t tokens of its own patch of the grid, row-major. */
export type Regions = Tensor<'b q t c', Float>;
/** True where a query may attend to a token of its region. */
export type RegionMasks = Tensor<'b q t', 'bool'>;

/** Tells the caller of an intermediate activation, named by its model path: for tests and for looking inside. */
export type Inspect = (path: string, value: Tensor) => void;

/** The option of `linear` for a width that may be left to the checkpoint. */
export function sized(size: number | undefined): { readonly size?: number } {
  return size === undefined ? {} : { size };
}

/**
 * Regions of `map` for a `queries × queries` grid: query (i, j) gets the r × r patch at rows i·r…, columns j·r…, r = side / queries.
 * A view; throws `OpabiniaError` when the side does not divide.
 * @example const regions = regionsOf(map, 8) // Tensor<'b q t c'>
 */
export function regionsOf(map: FeatureMap, queries: number): Regions {
  requireTensor('regionsOf', map);
  regionSide(map.size('h'), queries);
  regionSide(map.size('w'), queries);
  return rearrange(map, 'b (qh rh) (qw rw) c -> b q=(qh qw) t=(rh rw) c', { qh: queries, qw: queries });
}

/**
 * The masks that go with `regionsOf`, of a map that shows its picture in places and padding elsewhere. A query whose whole region is
 * padding attends to all of it: otherwise its softmax could be empty.
 */
export function regionMasks(shown: Tensor<'b h w', 'bool'>, queries: number): RegionMasks {
  const own = rearrange(shown, 'b (qh rh) (qw rw) -> b q=(qh qw) t=(rh rw)', { qh: queries, qw: queries });
  const any = reduce(own.cast('i32'), 'b q t -> b q', 'max').gt(0);
  return own.or(repeat(any.not(), 'b q -> b q t', { t: own.sizeOf('t') }));
}

/** Tokens in row-major order, as towers give them, seen as a square grid. */
export function asSquareMap(tokens: Tensor<'b n c', Float>): FeatureMap {
  return rearrange(tokens, 'b (h w) c -> b h w c', { h: Math.round(Math.sqrt(tokens.size('n'))) });
}
