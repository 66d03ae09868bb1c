// The one-layer resampler of Qwen-VL and those that copy it: learned queries on a grid attend to the picture once; sine and cosine positions.
import {
  concat,
  constantLike,
  einsum,
  layerNorm,
  linear,
  multiHeadProjections,
  rearrange,
  reduce,
  repeat,
  resize,
  softmax,
  type Float,
  type Params,
  type Tensor,
} from '../../dsl/index.ts';
import type { FeatureMap, Queries } from '../sequence/regions.ts';
import { packedAttention, tokensOf, type Sequence } from './attention.ts';

/** A position for every cell of a grid, row by row. */
export type PositionTable = Tensor<'n c', Float>;

export interface GridResamplerConfig {
  /** Side of the grid of queries. */
  readonly side: number;
  readonly heads: number;
  readonly eps: number;
  /** Width of the queries; with a checkpoint it may be left to that. */
  readonly size?: number | undefined;
  /** What positions are added to: to queries and keys, or to keys alone. */
  readonly positions: 'queries and keys' | 'keys';
}

/** Queries, keys and values as they enter the attention. */
export interface ResamplerInputs {
  readonly query: Queries;
  readonly key: Sequence;
  readonly value: Sequence;
}

/**
 * y = MHA(LN(Q) + P, LN(x W) + P′, LN(x W)), with P′ the table P on the picture's grid. `kv_proj` is left out where the map is as wide as
 * the queries and the checkpoint has none.
 */
export function gridResampler(p: Params, map: FeatureMap, config: GridResamplerConfig): Queries {
  const { query, key, value } = resamplerInputs(p, map, config);
  return packedAttention(p.at('attn'), query, key, value, config);
}

/** How much each query of `gridResampler` looks at each token, averaged over the heads. */
export function resamplerWeights(p: Params, map: FeatureMap, config: GridResamplerConfig): Tensor<'b q n', 'f32'> {
  const { query, key, value } = resamplerInputs(p, map, config);
  const { q, k } = multiHeadProjections(p.at('attn'), query, key, value, { heads: config.heads, along: 'c' });
  const scores = einsum(q, k, 'b q head c, b n head c -> b q head n').cast('f32');
  const scaled = scores.mul(1 / Math.sqrt(query.size('c') / config.heads));
  return reduce(softmax(scaled, 'n'), 'b q head n -> b q n', 'mean');
}

/** What enters the attention of `gridResampler`. */
export function resamplerInputs(p: Params, map: FeatureMap, config: GridResamplerConfig): ResamplerInputs {
  const { side, eps } = config;
  const { query, size } = learnedQueries(p, config);
  const table = p.get('pos_embed', 'n c', { n: side * side, c: size });
  const value = normedTokens(p, map, size, eps);
  const key = value.add(onGrid(table, side, map.size('h'), map.size('w')));
  const placed = config.positions === 'keys' ? query : query.add(rearrange(table, 'n c -> q=(n) c'));
  return { query: repeat(placed, 'q c -> b q c', { b: map.sizeOf('b') }), key, value };
}

/** LN(Q), and its width. */
export function learnedQueries(
  p: Params,
  { side, eps, size }: GridResamplerConfig,
): { readonly query: Tensor<'q c', Float>; readonly size: number } {
  const learned = p.get('query', 'q c', { q: side * side, ...(size === undefined ? {} : { c: size }) });
  return { query: layerNorm(p.at('ln_q'), learned, { eps }), size: learned.size('c') };
}

/** LN(x W) of every token; without W where it is as wide already and the checkpoint has none. */
export function normedTokens(p: Params, map: FeatureMap, size: number, eps: number): Sequence {
  const tokens = tokensOf(map);
  const isWide = tokens.size('c') === size && !p.at('kv_proj').has('weight');
  return layerNorm(p.at('ln_kv'), isWide ? tokens : linear(p.at('kv_proj'), tokens, 'c', { size, bias: false }), {
    eps,
  });
}

/** LN(y) W: what follows the attention in most releases. */
export function postProjected(p: Params, y: Queries, eps: number): Queries {
  return matrixProjected(p, 'proj', layerNorm(p.at('ln_post'), y, { eps }), y.size('c'));
}

/** x @ W of a parameter that is not stored as a linear map's. */
export function matrixProjected(p: Params, name: string, x: Queries, width: number | undefined): Queries {
  const matrix = p.get(name, 'c e', { c: x.size('c'), ...(width === undefined ? {} : { e: width }) });
  return rearrange(einsum(x, matrix, 'b q c, c e -> b q e'), 'b q e -> b q c=(e)');
}

/** A table of a square grid, resized bicubically to another grid; in f32. */
export function onGrid(table: PositionTable, side: number, rows: number, columns: number): PositionTable {
  if (side === rows && side === columns) return table;
  const grid = repeat(rearrange(table, '(h w) c -> h w c', { h: side }), 'h w c -> b h w c', { b: 1 });
  const resized = resize(grid.cast('f32'), { height: rows, width: columns, mode: 'bicubic' }).at('b', 0);
  return rearrange(resized, 'h w c -> n=(h w) c').cast(table.dtype);
}

/**
 * Sine and cosine positions of a grid (MAE's `get_2d_sincos_pos_embed`): the first half of the channels says the column, the second the row,
 * each half [sin | cos] of position / 10000^(i / (c/4)).
 */
export function gridSines(like: Tensor<string, Float>, rows: number, columns: number, size: number): PositionTable {
  const half = size / 2;
  const line = (places: number): Float64Array =>
    Float64Array.from({ length: places * half }, (_, at) => lineSine(Math.floor(at / half), at % half, half));
  const across = constantLike(like, line(columns), 'w c', { w: columns, c: half }, like.dtype);
  const down = constantLike(like, line(rows), 'h c', { h: rows, c: half }, like.dtype);
  const cells = [repeat(across, 'w c -> h w c', { h: rows }), repeat(down, 'h c -> h w c', { w: columns })];
  return rearrange(concat(cells, 'c'), 'h w c -> n=(h w) c');
}

/** Element `channel` of `size` of the position of a point on a line: [sin | cos] of place / 10000^(i / (size/2)). */
export function lineSine(place: number, channel: number, size: number): number {
  const half = size / 2;
  const angle = place / 10000 ** ((channel % half) / half);
  return channel < half ? Math.sin(angle) : Math.cos(angle);
}
