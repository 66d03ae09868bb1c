// Deformable attention of one map (Zhu et al. 2021, arXiv 2010.04159, equation 2): each head of each query reads a few points that it places itself.
import {
  constantLike,
  floor,
  gather,
  linear,
  rearrange,
  reduce,
  repeat,
  softmax,
  type Float,
  type Params,
  type Tensor,
} from '../../dsl/index.ts';
import type { FeatureMap, Queries } from '../sequence/regions.ts';
import { tokensOf } from './attention.ts';

export interface DeformableOptions {
  readonly heads: number;
  /** Points that a head reads. */
  readonly points: number;
}

/** A coordinate of every point. */
type Points = Tensor<'b q a k', 'f32'>;

/** `references`: for each query x and y of its place, from 0 to 1 over the map. */
export function deformableAttention(
  p: Params,
  query: Queries,
  map: FeatureMap,
  references: Tensor<'q i', Float>,
  { heads, points }: DeformableOptions,
): Queries {
  const size = query.size('c');
  const of = { a: heads, k: points };
  const value = linear(p.at('value_proj'), tokensOf(map), 'c', { size });
  const offsets = linear(p.at('sampling_offsets'), query, 'c', { size: heads * points * 2 });
  const logits = linear(p.at('attention_weights'), query, 'c', { size: heads * points });
  const weights = softmax(rearrange(logits, 'b q (a k) -> b q a k', of), 'k');
  const shifts = rearrange(offsets.cast('f32'), 'b q (a k i) -> b q a k i', of);
  const [x, y] = (
    [
      ['w', 0],
      ['h', 1],
    ] as const
  ).map(([axis, i]): Points => {
    const extent = map.size(axis);
    // A place is a fraction of the map, an offset a number of cells; cells have their centres at halves.
    return shifts.at('i', i).add(references.at('i', i).cast('f32').mul(extent)).sub(0.5);
  });
  if (x === undefined || y === undefined) throw new TypeError('a point has two coordinates');
  const read = sampled(rearrange(value, 'b n (a d) -> b n a d', { a: heads }), map, { x, y, weights });
  return linear(p.at('output_proj'), read, 'c', { size });
}

/** The weighed sum of bilinear samples of the values at the points; outside of the map there are zeros. */
function sampled(
  value: Tensor<'b n a d', Float>,
  map: FeatureMap,
  { x, y, weights }: { readonly x: Points; readonly y: Points; readonly weights: Tensor<'b q a k', Float> },
): Queries {
  // The four corners of the cell that a point lies in are one axis: above and below, left and right.
  const near = (at: Points, size: number, side: 'down' | 'right') => {
    const first = floor(at);
    const which = side === 'down' ? [0, 0, 1, 1] : [0, 1, 0, 1];
    const step = constantLike(at, which, 'j', { j: 4 }, 'f32');
    const place = repeat(first, 'b q a k -> b q a k j', { j: 4 }).add(step);
    const share = repeat(at.sub(first), 'b q a k -> b q a k j', { j: 4 });
    // 1 − share for the first of the two, share for the second.
    const weight = share.mul(step.mul(2).sub(1)).add(step.neg().add(1));
    return {
      place: place
        .max(0)
        .min(size - 1)
        .cast('i32'),
      weight: weight.where(place.ge(0).and(place.le(size - 1)), 0),
    };
  };
  const [row, column] = [near(y, map.size('h'), 'down'), near(x, map.size('w'), 'right')];
  const seen = gather(value, row.place.mul(map.size('w')).add(column.place), 'n');
  const shares = row.weight.mul(column.weight).mul(weights.cast('f32')).cast(value.dtype);
  return rearrange(reduce(seen.mul(shares), 'b q a k j d -> b q a d', 'sum'), 'b q a d -> b q c=(a d)');
}
