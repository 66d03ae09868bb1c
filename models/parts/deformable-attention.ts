// Deformable attention (Zhu et al. 2021, arXiv 2010.04159, equations 2 and 3): each head of each query reads a few points of each map, which it places itself.
import {
  concat,
  linear,
  rearrange,
  reduce,
  sampleBilinear,
  slice,
  softmax,
  type Float,
  type Params,
  type Tensor,
} from '../../dsl/index.ts';
import type { FeatureMap, Queries } from '../sequence/regions.ts';

export interface DeformableOptions {
  readonly heads: number;
  /** Points that a head reads of each map. */
  readonly points: number;
}

/** For each picture and head, query and point. */
type Points = Tensor<'b q k', Float>;

/**
 * `levels`: maps of the same pictures, each with places of its own. `references`: for each query x and y of its place, from 0 to 1 over
 * every map. What lies outside of a map is 0.
 */
export function deformableAttention(
  p: Params,
  query: Queries,
  levels: readonly FeatureMap[],
  references: Tensor<'q i', Float>,
  { heads, points }: DeformableOptions,
): Queries {
  const size = query.size('c');
  const count = heads * levels.length * points;
  const offsets = linear(p.at('sampling_offsets'), query, 'c', { size: count * 2 }).cast('f32');
  const logits = linear(p.at('attention_weights'), query, 'c', { size: count });
  // The points of all maps share one softmax.
  const weights: Points = softmax(rearrange(logits, 'b q (a k) -> b=(b a) q k', { a: heads }), 'k');
  const shifts = rearrange(offsets, 'b q (a k i) -> b=(b a) q k i', { a: heads, i: 2 });
  const read = levels.map((map, level) => {
    const value = linear(p.at('value_proj'), map, 'c', { size });
    const own = slice(shifts, 'k', { start: level * points, size: points });
    // A place is a fraction of the map, an offset a number of cells; cells have their centers at halves.
    const along = (i: number, axis: 'h' | 'w') =>
      own
        .at('i', i)
        .add(references.at('i', i).cast('f32').mul(map.size(axis)))
        .sub(0.5);
    // Heads are pictures of their own: each reads its channels alone.
    const apart = rearrange(value, 'b h w (a c) -> b=(b a) h w c', { a: heads });
    return sampleBilinear(apart, along(1, 'h'), along(0, 'w'));
  });
  const all = concat(read, 'k');
  const seen = reduce(all.mul(weights.cast(all.dtype)), 'b q k c -> b q c', 'sum');
  return linear(p.at('output_proj'), rearrange(seen, '(b a) q c -> b q c=(a c)', { a: heads }), 'c', { size });
}
