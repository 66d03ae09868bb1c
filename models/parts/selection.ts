// Which tokens are kept, with shapes that are known beforehand.
import { rearrange, reduce, repeat, topK, type DType, type Float, type Tensor } from '../../dsl/index.ts';
import { positions } from '../../dsl/functions/math.ts';
import { requireAxis } from '../../dsl/tensor.ts';

/** Positions along an axis that are kept. */
export type Kept = Tensor<'b k', 'i32'>;
/** One number a token. */
export type Scores = Tensor<'b n', Float>;

/** The position along an axis of x. */
export function placesOf<A extends string>(x: Tensor, axis: A): Tensor<A, 'i32'> {
  return positions(x, requireAxis('placesOf', x, axis), axis);
}

/** True where m is behind n. */
export function laterThan(x: Tensor<'b n m'>): Tensor<'n m', 'bool'> {
  return repeat(placesOf(x, 'n'), 'n -> n m', { m: x.sizeOf('m') }).lt(placesOf(x, 'm'));
}

/** Positions of the k tokens with the highest scores, highest first. */
export function highest(scores: Scores, k: number): Kept {
  return rearrange(topK(scores, 'n', k).indices, 'b n -> b k=(n)');
}

/** The same positions in the order of the sequence. */
export function ascending(kept: Kept): Kept {
  return topK(kept.neg(), 'k', kept.size('k')).values.neg();
}

/** True for the tokens that are kept. `like` has all of them. */
export function keptMask<D extends DType>(kept: Kept, like: Tensor<'b n', D>): Tensor<'b n', 'bool'> {
  const wide = repeat(kept, 'b k -> b n k', { n: like.sizeOf('n') });
  const hits = wide.eq(placesOf(like, 'n')).cast('i32');
  return reduce(hits, 'b n k -> b n', 'max').gt(0);
}

/** The tokens that are not kept, in the order of the sequence; `left` is how many. */
export function others(kept: Kept, like: Scores, left: number): Kept {
  const n = like.size('n');
  const place = repeat(placesOf(like, 'n'), 'n -> b n', { b: like.sizeOf('b') });
  const order = place.neg().sub(keptMask(kept, like).cast('i32').mul(n));
  return rearrange(topK(order, 'n', left).indices, 'b n -> b k=(n)');
}

/** 1 where token n belongs to group k, else 0. */
export function membership(group: Tensor<'b n', 'i32'>, groups: number, dtype: Float): Tensor<'b n k', Float> {
  const wide = repeat(group, 'b n -> b n k', { k: groups });
  return wide.eq(placesOf(wide, 'k')).cast(dtype);
}
