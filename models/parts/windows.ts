// Queries of a grid that each attend to their own square of a map, all squares at once: they become the batch.
import { rearrange } from '../../dsl/index.ts';
import type { FeatureMap, Queries } from '../sequence/regions.ts';
import type { Sequence } from './attention.ts';
import { requireSquares } from './space-to-depth.ts';

/** Squares of `side` × `side`, row by row in the batch, row by row inside. Throws `OpabiniaError` for a grid that does not divide. */
export function windowTokens(map: FeatureMap, side: number): Sequence {
  requireSquares('windowTokens', map, side);
  return rearrange(map, 'b (y i) (x j) c -> b=(b y x) n=(i j) c', { i: side, j: side });
}

/** The map whose squares of `side` × `side` are the batch, `rows` of them below one another. */
export function windowsAsMap(tokens: Sequence, side: number, rows: number, columns: number): FeatureMap {
  return rearrange(tokens, '(b y x) (i j) c -> b h=(y i) w=(x j) c', { y: rows, x: columns, i: side, j: side });
}

/** Each cell of a grid as the only query of its square. */
export function cellQueries(map: FeatureMap): Queries {
  return rearrange(map, 'b h w (q c) -> b=(b h w) q c', { q: 1 });
}

/** One result a square, as a map. */
export function cellResults(results: Queries, rows: number, columns: number): FeatureMap {
  return rearrange(results, '(b h w) q c -> b h w c=(q c)', { h: rows, w: columns });
}
