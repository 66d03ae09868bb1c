// Deformable attention of one map (Zhu et al. 2021, arXiv 2010.04159, equation 2): each head of each query reads a few points that it places itself.
import {
  floor,
  gather,
  linear,
  rearrange,
  reduce,
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
  const seen = sampled(rearrange(value, 'b n (a d) -> b n a d', { a: heads }), map, x, y);
  const read = rearrange(reduce(seen.mul(weights), 'b q a k d -> b q a d', 'sum'), 'b q a d -> b q c=(a d)');
  return linear(p.at('output_proj'), read, 'c', { size });
}

/** Bilinear samples of the values at the points; outside of the map there are zeros. */
function sampled(value: Tensor<'b n a d', Float>, map: FeatureMap, x: Points, y: Points): Tensor<'b q a k d', Float> {
  const [left, top] = [floor(x), floor(y)];
  const corners = [0, 1].flatMap((down) => [0, 1].map((right) => [down, right] as const));
  const parts = corners.map(([down, right]) => {
    const [column, row] = [left.add(right), top.add(down)];
    const across = right === 1 ? x.sub(left) : left.add(1).sub(x);
    const along = down === 1 ? y.sub(top) : top.add(1).sub(y);
    const inside = within(column, map.size('w')).and(within(row, map.size('h')));
    const weight = across.mul(along).where(inside, 0);
    const place = clamped(row, map.size('h'))
      .mul(map.size('w'))
      .add(clamped(column, map.size('w')));
    return gather(value, place, 'n').mul(weight.cast(value.dtype));
  });
  const [first, ...rest] = parts;
  if (first === undefined) throw new TypeError('a cell has four corners');
  return rest.reduce((sum, part) => sum.add(part), first);
}

const within = (at: Points, size: number): Tensor<'b q a k', 'bool'> => at.ge(0).and(at.le(size - 1));
const clamped = (at: Points, size: number): Tensor<'b q a k', 'i32'> =>
  at
    .max(0)
    .min(size - 1)
    .cast('i32');
