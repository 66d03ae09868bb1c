// Pictures that were padded to a square, as the aggregator sees them: which tokens of a map are theirs, and which part of the final grid.
import { constantLike, OpabiniaError, type Tensor } from '../../../dsl/index.ts';
import type { ConnectorContext } from '../../connectors/connector.ts';
import { crop, gridMask, type Crop, type PictureSize } from '../../sequence/masks.ts';
import { regionMasks, type FeatureMap, type RegionMasks } from '../../sequence/regions.ts';

/** Masks of each map for a grid of queries, by what the context says of the pictures; undefined where it says nothing. */
export function masksOf(
  maps: readonly FeatureMap[],
  { shown, pictures }: Pick<ConnectorContext, 'shown' | 'pictures'>,
): ((queries: number) => readonly RegionMasks[]) | undefined {
  if (shown === undefined && pictures === undefined) return undefined;
  const places = maps.map((map, k) => shown?.(k) ?? placesShown(map, pictures ?? []));
  return (queries) => places.map((place) => regionMasks(place, queries));
}

function placesShown(map: FeatureMap, pictures: readonly PictureSize[]): Tensor<'b h w', 'bool'> {
  const [b, h, w] = [map.size('b'), map.size('h'), map.size('w')];
  const refuse = (what: string, advice: string) => new OpabiniaError(what, { op: 'sva', advice });
  if (pictures.length !== b)
    throw refuse(`the maps show ${b} pictures, and ${pictures.length} sizes are given`, 'one size for each picture');
  if (h !== w)
    throw refuse(`a padded picture is a square, and a map is ${h}×${w}`, "tell what it shows: 'shown' of the context");
  const values = pictures.flatMap((picture) => Array.from(gridMask(picture, h)));
  return constantLike(map, values, 'b h w', { b, h, w }, 'i32').gt(0);
}

/**
 * The part of the final grid that the pictures show. Throws `OpabiniaError` where they show different parts: the tokens of a batch are
 * as many for each.
 */
export function areaOf(pictures: readonly PictureSize[], side: number): Crop {
  const [first, ...others] = pictures.map((picture) => crop(picture, side));
  if (first === undefined) throw new OpabiniaError('there is no picture', { op: 'sva' });
  const other = others.find((area) => Object.entries(first).some(([key, size]) => area[key as keyof Crop] !== size));
  if (other !== undefined)
    throw new OpabiniaError(
      `pictures of one batch show ${first.height}×${first.width} and ${other.height}×${other.width} of a grid of ${side}×${side}: their tokens are not as many`,
      {
        op: 'sva',
        advice: "build them one by one, or tell what maps show ('shown' of the context) and keep all tokens",
      },
    );
  return first;
}
