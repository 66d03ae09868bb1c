// The towers of a Cambrian while it learns: they run only for pictures that no cache knows.
import { join } from 'node:path';
import { compile } from '../../compiler/compile.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { towersGraph, towerSide, type CambrianModel } from '../../models/multimodal/cambrian-model.ts';
import { towerChannels } from '../../models/configs/towers.ts';
import { deviceProfile } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { contentKey } from '../../runtime/files/content-key.ts';
import type { Image } from '../../runtime/image/image.ts';
import { load, type Program } from '../../runtime/program/program.ts';
import { towerInputs } from '../answer/families/cambrian.ts';
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

export class FrozenTowers {
  readonly #opened: OpenedModel;
  readonly #model: CambrianModel;
  readonly #device: Device;
  readonly #cache: FeatureCache;
  #program: Promise<Program> | undefined;

  /** `folder`: of the cache. The key is of the towers' weights, their configs, and sizes. */
  constructor(opened: OpenedModel, model: CambrianModel, device: Device, folder: string) {
    this.#opened = opened;
    this.#model = model;
    this.#device = device;
    const weights = opened.weights.filter(({ root }) => root !== '').map(({ path }) => path);
    const sides = model.towers.map((_, k) => towerSide(model, k));
    const key = contentKey(
      [JSON.stringify([model.towers, model.config.towers, model.config.clipLayer, sides, opened.source.dtype])],
      weights,
    );
    this.#cache = new FeatureCache(
      join(folder, 'features'),
      key,
      towerMaps(model).map(({ side, channels }) => [side, side, channels]),
    );
  }

  get counts(): FeatureCache['counts'] {
    return this.#cache.counts;
  }

  /** Maps of a picture; `key`: of its bytes. */
  async see(key: string, image: Image): Promise<Features> {
    return this.#cache.features(key, () => this.#run(towerInputs(this.#model, image)));
  }

  /** What stands for the picture of a sample without one: pixels of zero. */
  async nothing(): Promise<Features> {
    const zeros = Object.fromEntries(
      this.#model.towers.map((_, k) => [`pixels_${k}`, new Float32Array(3 * towerSide(this.#model, k) ** 2)]),
    );
    return this.#cache.features('0'.repeat(64), () => this.#run(zeros));
  }

  async #run(inputs: Readonly<Record<string, Float32Array>>): Promise<Features> {
    this.#program ??= load(
      compile(towersGraph(this.#opened.source, this.#model), deviceProfile(this.#device)),
      this.#device,
      this.#opened.source,
    );
    const program = await this.#program;
    const outputs = await program.run(inputs);
    return this.#model.towers.map((_, k) => {
      const data = outputs[`features_${k}`]?.data;
      if (!(data instanceof Float32Array)) throw new OpabiniaError(`tower ${k} gave no map`, { op: 'features' });
      return data;
    });
  }

  async close(): Promise<void> {
    (await this.#program)?.dispose();
  }
}
