// A Cambrian directory as something that learns: its loss, and samples as batches in the layout of its training.
import { join } from 'node:path';
import { OpabiniaError } from '../../dsl/error.ts';
import { cambrianInputs, cambrianLoss, type CambrianTraining } from '../../models/multimodal/cambrian-training.ts';
import { cambrianShapes } from '../../models/configs/cambrian.ts';
import {
  collateForTraining,
  dummyPicture,
  emptySlot,
  ignoredLabel,
  imagePlaceholder,
  layOutForInference,
  newlineSlot,
  textSlot,
  type SequenceBatch,
} from '../../models/sequence/collate.ts';
import { crop, type PictureSize } from '../../models/sequence/masks.ts';
import { labelledIds, type LabelledIds } from '../../models/sequence/labels.ts';
import type { Device } from '../../runtime/device/device.ts';
import { contentKey } from '../../runtime/files/content-key.ts';
import { decodeImage, type Image } from '../../runtime/image/image.ts';
import type { Source } from '../../runtime/checkpoint/joined-source.ts';
import type { Numbers } from '../../runtime/program/numbers.ts';
import { CambrianFamily } from '../answer/families/cambrian.ts';
import type { OpenedModel } from '../answer/open-model.ts';
import type { Features } from './data/feature-cache.ts';
import type { LlavaSample } from './data/llava-file.ts';
import { FrozenTowers, towerMaps } from './frozen-towers.ts';
import { imagesOf, microBatchOf, type Stage } from './recipe/recipe.ts';
import { withLora } from './step/lora.ts';
import type { TrainBatch, Trainable } from './trainable.ts';

export interface CambrianTrainableOptions {
  readonly device: Device;
  readonly stage: Stage;
  readonly seed: number;
  /** Where features are kept. */
  readonly cache: string;
  /** The sample that stands in for one that cannot be used: the first of the data. */
  readonly first: () => Promise<LlavaSample>;
}

/** Throws `OpabiniaError` for a model of another family. */
export function cambrianTrainable(opened: OpenedModel, options: CambrianTrainableOptions): Trainable {
  const { family } = opened;
  if (!(family instanceof CambrianFamily))
    throw new OpabiniaError(`${opened.directory} is no Cambrian`, {
      op: 'train',
      advice: 'recipes train Cambrian directories; other models bring a Trainable of their own to `trainStage`',
    });
  const { stage, seed } = options;
  const { config, towers: towerConfigs } = family.model;
  const towers = new FrozenTowers(opened, family.model, options.device, options.cache);
  const batch = microBatchOf(stage);
  const training: CambrianTraining = {
    connector: config.connector,
    towers: towerMaps(family.model),
    language: config.language,
    schedule: config.schedule,
    batch,
    length: stage.length,
    pictures: batch,
  };
  const names = [...cambrianShapes(config, towerConfigs).keys()];
  const lora = stage.lora === undefined ? undefined : withLora(opened.source, stage.lora, names, seed);
  const maker = new Batches(opened, family, towers, training, options);
  return {
    source: lora === undefined ? opened.source : withParts(lora.source, opened.source),
    paths: [...names, ...(lora?.paths ?? [])],
    loss: (t, p) => cambrianLoss(t, lora === undefined ? p : lora.wrap(p), training),
    batch: (samples) => maker.make(samples),
    about: { directory: opened.directory, template: family.template, features: () => towers.counts },
    close: () => void towers.close(),
  };
}

/** A source whose own tensors are read whole, and the others' as before. */
function withParts(source: Trainable['source'] | Omit<Source, 'part'>, base: Source): Source {
  const known = new Set(base.names() ?? []);
  return {
    ...source,
    part: (path, shape, start, count) =>
      known.has(path) && base.part !== undefined
        ? base.part(path, shape, start, count)
        : source.read(path, shape).subarray(start, start + count),
    storedPart: (path, shape, dtype, start, count) =>
      known.has(path) ? base.storedPart?.(path, shape, dtype, start, count) : undefined,
  };
}

/** A sample that can be learned from. */
interface Prepared extends LabelledIds {
  readonly picture: PictureSize | undefined;
  readonly features: Features;
}

class Batches {
  readonly #opened: OpenedModel;
  readonly #family: CambrianFamily;
  readonly #towers: FrozenTowers;
  readonly #training: CambrianTraining;
  readonly #options: CambrianTrainableOptions;
  readonly #pad: number;

  constructor(
    opened: OpenedModel,
    family: CambrianFamily,
    towers: FrozenTowers,
    training: CambrianTraining,
    options: CambrianTrainableOptions,
  ) {
    this.#opened = opened;
    this.#family = family;
    this.#towers = towers;
    this.#training = training;
    this.#options = options;
    const { tokenizer } = opened;
    const spellings = ['<|reserved_special_token_0|>', '<pad>', '<unk>', '<|endoftext|>'];
    this.#pad = spellings.map((token) => tokenizer.idOf(token)).find((id) => id !== undefined) ?? 0;
  }

  async make(samples: readonly LlavaSample[]): Promise<TrainBatch> {
    const replaced: string[] = [];
    const prepared: Prepared[] = [];
    for (const sample of samples) prepared.push(await this.#usable(sample, replaced));
    const { side } = this.#training.connector;
    const pictures = prepared.map(({ picture }) => picture ?? dummyPicture);
    const batch = this.#laidOut(prepared, pictures);
    const { inputs, targets } = cambrianInputs(this.#training, batch, pictures);
    const all = new Map<string, Numbers>(inputs);
    this.#training.towers.forEach(({ side: grid, channels }, k) => {
      const values = new Float32Array(prepared.length * grid * grid * channels);
      prepared.forEach(({ features }, i) => values.set(features[k] ?? [], i * grid * grid * channels));
      all.set(`features_${k}`, values);
    });
    const visual = prepared.flatMap(({ picture }, i) => {
      if (picture === undefined) return [];
      const row = batch.slots.subarray(i * batch.length, (i + 1) * batch.length);
      const area = crop(picture, side);
      const wanted = this.#options.stage.layout === 'unpad' ? area.height * (area.width + 1) : side * (side + 1);
      return [
        { found: row.filter((slot) => slot !== textSlot && slot !== emptySlot && slot >= newlineSlot).length, wanted },
      ];
    });
    return { inputs: all, targets, tokens: batch.attend.reduce((sum, one) => sum + one, 0), visual, replaced };
  }

  #laidOut(prepared: readonly Prepared[], pictures: readonly PictureSize[]): SequenceBatch {
    const { side } = this.#training.connector;
    const { length: maxLength } = this.#training;
    if (this.#options.stage.layout === 'unpad')
      return layOutForInference(
        prepared.map((sample, i) => ({ ...sample, images: sample.ids.includes(imagePlaceholder) ? [i] : [] })),
        pictures,
        { side, maxLength },
      );
    return collateForTraining(prepared, pictures, {
      side,
      imagePosition: this.#family.model.config.imagePosition ?? 0,
      maxLength,
      padId: this.#pad,
    });
  }

  /** The sample, or the first of the data where it has no label that counts or its picture cannot be read. */
  async #usable(sample: LlavaSample, replaced: string[]): Promise<Prepared> {
    const own = await this.#prepared(sample);
    if (typeof own !== 'string') return own;
    replaced.push(own);
    const first = await this.#prepared(await this.#options.first());
    if (typeof first !== 'string') return first;
    throw new OpabiniaError(
      `a sample cannot be used (${own}), and neither can the first one, which takes its place (${first})`,
      {
        op: 'data',
        advice: 'put a sample with a picture that can be read and an answer at the beginning of the data',
      },
    );
  }

  /** Or why it cannot be used. */
  async #prepared(sample: LlavaSample): Promise<Prepared | string> {
    const { tokenizer } = this.#opened;
    const begin = tokenizer.automaticStart[0];
    const labelled = await labelledIds(
      this.#family.template,
      sample.turns,
      (chunk, encode) => tokenizer.encode(chunk, encode),
      {
        begin,
      },
    );
    const { length } = this.#training;
    const { side } = this.#training.connector;
    // The block of a picture pushes labels behind it out of the sequence.
    const block = labelled.ids.includes(imagePlaceholder) ? side * (side + 1) - 1 : 0;
    if (!labelled.labels.some((label, at) => label !== ignoredLabel && at + block < length))
      return `labels all masked: ${sample.turns.length} turns of ${labelled.ids.length} tokens within ${length}`;
    if (sample.image === undefined) return { ...labelled, picture: undefined, features: await this.#towers.nothing() };
    const path = join(imagesOf(this.#options.stage.data), sample.image);
    const image = await readPicture(path);
    if (typeof image === 'string') return image;
    const features = await this.#towers.see(contentKey([], [path]), image);
    return { ...labelled, picture: { width: image.width, height: image.height }, features };
  }
}

/** The picture, or why it cannot be read. */
async function readPicture(path: string): Promise<Image | string> {
  try {
    return await decodeImage(path);
  } catch (error) {
    const isOurs = error instanceof OpabiniaError || (error instanceof Error && 'code' in error);
    if (!isOurs) throw error;
    return `${path} cannot be read: ${error.message.split('\n')[0] ?? ''}`;
  }
}
