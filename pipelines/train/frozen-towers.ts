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
  /** Inputs `pixels_{k}`, outputs `features_{k}`. */
  readonly graph: () => Graph;
  readonly inputs: (image: Image) => Readonly<Record<string, Float32Array>>;
  /** Sides of the pictures. */
  readonly sides: readonly number[];
}

export class FrozenTowers {
  readonly #opened: OpenedModel;
  readonly #sight: TowerSight;
  readonly #device: Device;
  readonly #cache: FeatureCache;
  #program: Promise<Program> | undefined;

  /** `folder`: of the cache. The key is of the towers' weights, their configs, and sizes. */
  constructor(opened: OpenedModel, device: Device, folder: string, sight: TowerSight) {
    this.#opened = opened;
    this.#sight = sight;
    this.#device = device;
    const weights = opened.weights.filter(({ root }) => root !== '').map(({ path }) => path);
    const key = contentKey(
      [JSON.stringify([...sight.about, opened.source.dtype])],
      [...weights, ...(sight.files ?? [])],
    );
    this.#cache = new FeatureCache(join(folder, 'features'), key, sight.maps);
  }

  get counts(): FeatureCache['counts'] {
    return this.#cache.counts;
  }

  /** Maps of a picture; `key`: of its bytes. */
  async see(key: string, image: Image): Promise<Features> {
    return this.#cache.features(key, () => this.#run(this.#sight.inputs(image)));
  }

  /** What stands for the picture of a sample without one: pixels of zero. */
  async nothing(): Promise<Features> {
    const zeros = Object.fromEntries(
      this.#sight.sides.map((side, k) => [`pixels_${k}`, new Float32Array(3 * side ** 2)]),
    );
    return this.#cache.features('0'.repeat(64), () => this.#run(zeros));
  }

  async #run(inputs: Readonly<Record<string, Float32Array>>): Promise<Features> {
    this.#program ??= load(
      compile(this.#sight.graph(), deviceProfile(this.#device)),
      this.#device,
      this.#opened.source,
    );
    const program = await this.#program;
    const outputs = await program.run(inputs);
    return this.#sight.maps.map((_, k) => {
      const data = outputs[`features_${k}`]?.data;
      if (!(data instanceof Float32Array)) throw new OpabiniaError(`tower ${k} gave no map`, { op: 'features' });
      return data;
    });
  }

  async close(): Promise<void> {
    (await this.#program)?.dispose();
  }
}
