// Space to depth: squares of neighbouring tokens become one token of all their channels, then a norm and an MLP. What differs between releases are attributes.
import { OpabiniaError, pad, pixelUnshuffle, rearrange, slice, type Params } from '../../dsl/index.ts';
import { nearestMultiples } from '../../dsl/axis/axis.ts';
import type { ConnectorContext, MapShape } from '../connectors/connector.ts';
import type { FeatureMap } from '../sequence/regions.ts';
import { mlp, type MlpOptions } from './mlp.ts';
import { norm, type NormOptions } from './norms.ts';

/** Order of a merged token's channels. rows-columns-channels: those of one patch stay together. channels-rows-columns: as `unfold` gives them. */
export type ChannelOrder = 'rows-columns-channels' | 'channels-rows-columns';

/** Throws `OpabiniaError` that names the nearest grids for a map that does not divide into squares of `side`. */
export function requireSquares(by: string, map: FeatureMap, side: number): void {
  const [rows, columns] = [map.size('h'), map.size('w')];
  if (rows % side === 0 && columns % side === 0) return;
  const [high, wide] = [nearestMultiples(rows, side), nearestMultiples(columns, side)];
  const grids = [0, -1].map((i) => `${high.at(i)}×${wide.at(i)}`);
  throw new OpabiniaError(`a grid of ${rows}×${columns} does not divide into squares of ${side}×${side}`, {
    op: by,
    advice: `the nearest grids that do are ${[...new Set(grids)].join(' and ')}: pad or resize the map`,
  });
}

/** Squares of `side` × `side` tokens as one. Throws `OpabiniaError` for a grid that does not divide. */
export function spaceToDepth(map: FeatureMap, side: number, order: ChannelOrder = 'rows-columns-channels'): FeatureMap {
  requireSquares('spaceToDepth', map, side);
  return order === 'channels-rows-columns'
    ? pixelUnshuffle(map, side)
    : rearrange(map, 'b h=(y i) w=(x j) c -> b h=(y) w=(x) c=(i j c)', { i: side, j: side });
}

/** Zeros behind the last row and column, up to a grid that divides. */
export function paddedTo(map: FeatureMap, side: number): FeatureMap {
  const missing = (size: number) => (side - (size % side)) % side;
  return pad(pad(map, 'h', { after: missing(map.size('h')) }), 'w', { after: missing(map.size('w')) });
}

/** The map without what is left beside the last whole square, as a convolution or `unfold` whose stride is its kernel reads it. */
export function croppedTo(map: FeatureMap, side: number): FeatureMap {
  const whole = (size: number) => ({ size: size - (size % side) });
  return slice(slice(map, 'h', whole(map.size('h'))), 'w', whole(map.size('w')));
}

export interface MergerOptions extends Omit<MlpOptions, 'width' | 'hidden'> {
  /** Side of the square of patches that becomes one token. */
  readonly merge: number;
  readonly order?: ChannelOrder | undefined;
  /** Zeros to a grid that divides; without it such a grid is refused. */
  readonly pad?: boolean | undefined;
  /** The grid of tokens is left transposed (InternVL's first version); channels within a token are not. */
  readonly transposed?: boolean | undefined;
  readonly norm?: (NormOptions & { readonly place: 'before' | 'after' }) | undefined;
  /** Width between the linear maps: a number, that of the merged token, or that of the result (the default). */
  readonly hidden?: number | 'merged' | undefined;
}

/** Norm of the patches (`before`), squares of patches to one token, norm of these (`after`), linear maps with activations between them. */
export function merger(p: Params, map: FeatureMap, options: MergerOptions, context: ConnectorContext): FeatureMap {
  const { merge, order, hidden, norm: normed } = options;
  const inner = normed?.place === 'before' ? norm(p, map, normed) : map;
  const upright = spaceToDepth(options.pad === true ? paddedTo(inner, merge) : inner, merge, order);
  const squares = options.transposed === true ? rearrange(upright, 'b h w c -> b h=(w) w=(h) c') : upright;
  context.inspect?.('shuffled', squares);
  const merged = normed?.place === 'after' ? norm(p, squares, normed) : squares;
  return mlp(p, merged, {
    ...options,
    width: context.width,
    hidden: hidden === 'merged' ? merged.size('c') : (hidden ?? context.width),
  });
}

/** Qwen's form: each patch is normed, squares of patches become one token, and an MLP as wide inside as that token. */
export function patchMerger(
  p: Params,
  map: FeatureMap,
  options: { readonly merge: number; readonly norm: NormOptions; readonly linears: readonly string[] },
  context: ConnectorContext,
): FeatureMap {
  return merger(p, map, { ...options, hidden: 'merged', norm: { ...options.norm, place: 'before' } }, context);
}

/** The same merger with other squares, for a search. */
export function otherMerges<C extends { readonly merge: number }>(
  config: C,
  _tokens: number,
  maps: readonly MapShape[],
): readonly C[] {
  const [rows = 1] = maps[0] ?? [];
  return Array.from({ length: Math.min(16, rows) }, (_, i) => ({ ...config, merge: i + 1 }));
}
