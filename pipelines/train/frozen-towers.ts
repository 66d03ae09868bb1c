// The towers of a model while it learns: they run only for pictures that no cache knows.
import { join } from 'node:path';
import { compile } from '../../compiler/compile.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import type { Graph } from '../../dsl/index.ts';
import type { MapShape } from '../../models/connectors/connector.ts';
import type { CambrianModel } from '../../models/multimodal/cambrian-model.ts';
import { towerChannels } from '../../models/configs/towers.ts';
import { deviceProfile } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { contentKey } from '../../runtime/files/content-key.ts';
import type { Image } from '../../runtime/image/image.ts';
import { load, type Program } from '../../runtime/program/program.ts';
import type { OpenedModel } from '../answer/open-model.ts';
import { FeatureCache, type Features } from './data/feature-cache.ts';
import type { SeenPicture, Sight } from './data/seen-pictures.ts';

/** Key of what stands for no picture. */
const noPicture = '0'.repeat(64);

export interface TowerMap {
  readonly side: number;
  readonly channels: number;
}

/** Side of the grid and channels of each tower's map. */
export function towerMaps({ config, towers }: CambrianModel): readonly TowerMap[] {
  return towers.map((tower, k) => ({
    side: config.towers[k]?.side ?? 1,
    channels: towerChannels(tower, config.towers[k]?.allStages ?? true),
  }));
}

/** What a model's towers are. */
export interface TowerSight {
  /** All that the maps depend on besides weights: part of the cache's key. */
  readonly about: readonly unknown[];
  /** Files that say so, besides the weights. */
  readonly files?: readonly string[] | undefined;
  readonly maps: readonly MapShape[];
  /** Inputs `pixels_{k}`, outputs `features_{k}`, both of so many pictures. */
  readonly graph: (pictures: number) => Graph;
  readonly inputs: (image: Image) => Readonly<Record<string, Float32Array>>;
  /** Sides of the pictures. */
  readonly sides: readonly number[];
}

/** Parameters of towers, each below a root of its own, and the files that they are read from. */
export type TowerWeights = Pick<OpenedModel, 'source' | 'read'>;

/** Values of the pixels of all towers in one run, and pictures, at most: launches cost as much as small pictures do. */
const pixelsAtOnce = 3 * 512 ** 2;
const mostAtOnce = 32;

export class FrozenTowers implements Sight {
  readonly input = 'features';
  readonly #opened: TowerWeights;
  readonly #sight: TowerSight;
  readonly #device: Device;
  readonly #cache: FeatureCache;
  /** Pictures of a run; always as many, so that the maps of one do not depend on how many are asked for with it. */
  readonly #atOnce: number;
  #program: Promise<Program> | undefined;

  /** `folder`: of the cache. The key is of the towers' weights, their configs, and sizes. */
  constructor(opened: TowerWeights, device: Device, folder: string, sight: TowerSight) {
    this.#opened = opened;
    this.#sight = sight;
    this.#device = device;
    const pixels = sight.sides.reduce((sum, side) => sum + 3 * side ** 2, 0);
    this.#atOnce = Math.min(mostAtOnce, Math.max(1, Math.floor(pixelsAtOnce / pixels)));
    const weights = opened.read.filter(({ root }) => root !== '').map(({ path }) => path);
    const key = contentKey(
      [JSON.stringify([...sight.about, opened.source.dtype])],
      [...weights, ...(sight.files ?? [])],
    );
    this.#cache = new FeatureCache(join(folder, 'features'), key, sight.maps);
  }

  get shapes(): readonly MapShape[] {
    return this.#sight.maps;
  }

  get counts(): FeatureCache['counts'] {
    return this.#cache.counts;
  }

  /** Maps of pictures, in order; what stands for undefined, a sample without one, is pixels of zero. */
  async see(pictures: readonly (SeenPicture | undefined)[]): Promise<readonly Features[]> {
    const keys = pictures.map((picture) => picture?.key ?? noPicture);
    const known = new Map<string, Features>();
    const missing = new Map<string, SeenPicture | undefined>();
    pictures.forEach((picture, i) => {
      const key = keys[i] ?? '';
      const kept = known.get(key) ?? this.#cache.find(key);
      if (kept === undefined) missing.set(key, picture);
      else known.set(key, kept);
    });
    const open = [...missing];
    for (let at = 0; at < open.length; at += this.#atOnce) {
      const some = open.slice(at, at + this.#atOnce);
      const maps = await this.#run(some.map(([, picture]) => picture?.image));
      some.forEach(([key], i) => known.set(key, this.#cache.keep(key, maps[i] ?? [])));
    }
    return keys.map((key) => known.get(key) ?? []);
  }

  async #run(images: readonly (Image | undefined)[]): Promise<readonly Features[]> {
    this.#program ??= load(
      compile(this.#sight.graph(this.#atOnce), deviceProfile(this.#device)),
      this.#device,
      this.#opened.source,
    );
    const program = await this.#program;
    const inputs = new Map(
      this.#sight.sides.map((side, k) => [`pixels_${k}`, new Float32Array(this.#atOnce * 3 * side ** 2)]),
    );
    images.forEach((image, i) => {
      if (image === undefined) return;
      for (const [name, pixels] of Object.entries(this.#sight.inputs(image)))
        inputs.get(name)?.set(pixels, i * pixels.length);
    });
    const outputs = await program.run(Object.fromEntries(inputs));
    return images.map((_, i) =>
      this.#sight.maps.map((shape, k) => {
        const data = outputs[`features_${k}`]?.data;
        if (!(data instanceof Float32Array)) throw new OpabiniaError(`tower ${k} gave no map`, { op: 'features' });
        const each = shape.reduce((count, size) => count * size, 1);
        return data.slice(i * each, (i + 1) * each);
      }),
    );
  }

  async close(): Promise<void> {
    (await this.#program)?.dispose();
  }
}
