// The map that a connector reads, of whichever tower has a config of its own.
import type { Params } from '../../dsl/index.ts';
import type { TowerConfig } from '../configs/towers.ts';
import type { FeatureMap } from '../sequence/regions.ts';
import { clipFeatures } from './clip.ts';
import { convNextFeatures } from './convnext.ts';
import { dinov2Features } from './dinov2.ts';
import { siglipFeatures } from './siglip.ts';
import type { Grid, Pixels } from './tower.ts';

export interface TowerMapOptions {
  /** Resampled to it; by default the tower's own. */
  readonly grid?: Grid | undefined;
  /** Hidden state of CLIP; the last but one by default. */
  readonly clipLayer?: number | undefined;
  /** Stages of ConvNeXt, side by side; all by default. */
  readonly stages?: readonly number[] | undefined;
}

/** `b h w c`. */
export function towerMap(p: Params, pixels: Pixels, tower: TowerConfig, options: TowerMapOptions = {}): FeatureMap {
  const { grid, clipLayer, stages } = options;
  switch (tower.tower) {
    case 'clip':
      return clipFeatures(p, pixels, tower.config, { layer: clipLayer, grid });
    case 'siglip':
      return siglipFeatures(p, pixels, tower.config, { grid });
    case 'dinov2':
      return dinov2Features(p, pixels, tower.config, { grid });
    case 'convnext':
      return convNextFeatures(p, pixels, tower.config, { grid, stages });
    default:
      return tower satisfies never;
  }
}
