// Several towers on one grid: what connectors take that know a single map.
import { concat, resize } from '../../dsl/index.ts';
import type { FeatureMap } from '../sequence/regions.ts';

export interface GridOptions {
  readonly rows: number;
  readonly columns: number;
  /** Whether corners lie on corners (Eagle, LLaVA-HR) or pixels on pixels. */
  readonly alignCorners?: boolean | undefined;
}

/** A map resampled bilinearly in f32; untouched when it is on that grid already. */
export function onSameGrid(map: FeatureMap, { rows, columns, alignCorners }: GridOptions): FeatureMap {
  if (map.size('h') === rows && map.size('w') === columns) return map;
  return resize(map.cast('f32'), { height: rows, width: columns, mode: 'bilinear', alignCorners }).cast(map.dtype);
}

/** Channels of all maps side by side, on the grid of the first unless another is given. */
export function channelConcat(maps: readonly FeatureMap[], grid?: GridOptions): FeatureMap {
  const [first] = maps;
  const shape = grid ?? { rows: first?.size('h') ?? 1, columns: first?.size('w') ?? 1 };
  return concat(
    maps.map((map) => onSameGrid(map, shape)),
    'c',
  );
}
