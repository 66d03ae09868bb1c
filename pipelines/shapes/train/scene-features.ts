// Maps of the scenes that a comparison trains and judges on: computed once, kept in one file for the encoders and scenes that it is of.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { openSafetensors } from '../../../runtime/checkpoint/safetensors.ts';
import { writeSafetensors } from '../../../runtime/checkpoint/safetensors-write.ts';
import type { MapShape } from '../../../models/connectors/connector.ts';
import type { Device } from '../../../runtime/device/device.ts';
import { encodeScenes, type OpenEncoders, type SceneMaps } from '../encoders/open-encoders.ts';
import { makeFolder } from '../../../runtime/files/make-folder.ts';
import { plural } from '../../../dsl/text/plural.ts';

export interface SceneRange {
  /** Seed of the first scene. */
  readonly from: number;
  readonly count: number;
}

/** From the cache in `folder`, or computed and kept there. */
export async function sceneFeatures(
  encoders: OpenEncoders,
  device: () => Promise<Device>,
  range: SceneRange,
  cache: FeatureFolder,
): Promise<SceneMaps> {
  return keptMaps(
    { key: encoders.key, maps: encoders.pair.map(({ map }) => map), range },
    async () => encodeScenes(encoders, await device(), range, cache.print),
    cache,
  );
}

/** Where maps are kept, and who is told that they are computed. */
export interface FeatureFolder {
  readonly folder: string;
  readonly print: (line: string) => void;
}

/** Maps of scenes by the key of what makes them: from the cache, or made and kept there. */
export async function keptMaps(
  { key, maps, range }: { readonly key: string; readonly maps: readonly MapShape[]; readonly range: SceneRange },
  make: () => Promise<SceneMaps>,
  { folder, print }: FeatureFolder,
): Promise<SceneMaps> {
  const path = join(folder, `${key}-${range.from}-${range.count}.safetensors`);
  const shapes = maps.map((map) => [range.count, ...map]);
  if (existsSync(path)) return readMaps(path, shapes, range.count);
  print(`encoding ${plural(range.count, 'picture')}, once`);
  const made = await make();
  makeFolder(folder);
  writeSafetensors(
    path,
    made.maps.map((map, k) => ({
      name: `map_${k}`,
      dtype: 'F16',
      shape: shapes[k] ?? [],
      values: map,
    })),
    { encoders: key },
    { op: 'features' },
  );
  return made;
}

function readMaps(path: string, shapes: readonly (readonly number[])[], count: number): SceneMaps {
  const file = openSafetensors(path);
  try {
    const maps = shapes.map((shape, k) => {
      const values = new Float16Array(shape.reduce((product, size) => product * size, 1));
      file.readInto(`map_${k}`, new Uint8Array(values.buffer));
      return values;
    });
    return { count, maps };
  } finally {
    file.close();
  }
}
