// Tokens of two kinds, each through weights of its own: they are sorted by kind, so that neither is computed for the other.
import { concat, gather, rearrange, slice, topK, type Float, type Tensor } from '../../dsl/index.ts';
import { placesOf } from './selection.ts';

/** Axes of a stream of tokens. */
export type Stream = Tensor<'b s e', Float>;

/** Where each token goes when those of the first kind come first, and back. */
export interface Routes {
  readonly order: Tensor<'b s', 'i32'>;
  readonly back: Tensor<'b s', 'i32'>;
  /** Tokens of the first kind: the same number in every sample. */
  readonly first: number;
}

/** Routes of tokens of which `first` are of the first kind; both kinds keep their order. */
export function routesOf(isFirst: Tensor<'b s', 'bool'>, first: number): Routes {
  const s = isFirst.size('s');
  const rank = isFirst.cast('i32').mul(s).sub(placesOf(isFirst, 's'));
  const order = topK(rank, 's', s).indices;
  return { order, back: topK(order.neg(), 's', s).indices, first };
}

/** Each token by the function of its kind. */
export function routed(
  x: Stream,
  { order, back, first }: Routes,
  one: (x: Stream) => Stream,
  other: (x: Stream) => Stream,
): Stream {
  const sorted: Stream = moved(x, order);
  const rest = x.size('s') - first;
  const parts = [
    ...(first > 0 ? [one(slice(sorted, 's', { size: first }))] : []),
    ...(rest > 0 ? [other(slice(sorted, 's', { start: first }))] : []),
  ];
  return moved(concat(parts, 's'), back);
}

function moved(x: Stream, order: Tensor<'b s', 'i32'>): Stream {
  const taken = gather(x, rearrange(order, 'b s -> b r=(s)'), 's');
  return rearrange(taken, 'b r e -> b s=(r) e');
}
