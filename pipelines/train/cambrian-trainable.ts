// A Cambrian directory as something that learns: its loss, and samples as batches in the layout of its training.
import { cambrianInputs, cambrianLoss, type CambrianTraining } from '../../models/multimodal/cambrian-training.ts';
import { towersGraph, towerSide } from '../../models/multimodal/cambrian-model.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { cambrianShapes } from '../../models/configs/cambrian.ts';
import {
  collateForTraining,
  dummyPicture,
  emptySlot,
  imagePlaceholder,
  layOutForInference,
  newlineSlot,
  textSlot,
  type SequenceBatch,
} from '../../models/sequence/collate.ts';
import { crop, type PictureSize } from '../../models/sequence/masks.ts';
import type { Numbers } from '../../runtime/program/numbers.ts';
import { towerInputs, type CambrianFamily } from '../answer/families/cambrian.ts';
import type { OpenedModel } from '../answer/open-model.ts';
import type { LlavaSample } from './data/llava-file.ts';
import { FrozenTowers, towerMaps } from './frozen-towers.ts';
import { learnable } from './learnable.ts';
import { imagesOf, microBatchOf, type Stage } from './recipe/recipe.ts';
import { SampleMaker, type PreparedSample } from './sample-maker.ts';
import { sightInputs } from './data/seen-pictures.ts';
import type { TrainBatch, Trainable, TrainableOptions } from './trainable.ts';

/** Its loss and its batches. Throws `OpabiniaError` for a stage whose towers learn: the released ones were frozen throughout. */
export function cambrianTrainable(opened: OpenedModel, family: CambrianFamily, options: TrainableOptions): Trainable {
  const { stage, seed, device, cache } = options;
  const { model } = family;
  const { config } = model;
  if (stage.unfreezeTowers === true) throw towersStayFrozen('train', `stage '${stage.name}'`);
  const sides = model.towers.map((_, k) => towerSide(model, k));
  const maps = towerMaps(model);
  const towers = new FrozenTowers(opened, device, cache, {
    about: [model.towers, config.towers, config.clipLayer, sides],
    maps: maps.map(({ side, channels }) => [side, side, channels]),
    graph: (pictures) => towersGraph(opened.source, model, pictures),
    inputs: (image) => towerInputs(model, image),
    sides,
  });
  const batch = microBatchOf(stage);
  const training: CambrianTraining = {
    connector: config.connector,
    towers: maps,
    language: config.language,
    schedule: config.schedule,
    batch,
    length: stage.length,
    pictures: batch,
    branched: stage.turns === 'independent',
    recomputes: stage.gradientCheckpointing,
  };
  const learned = learnable(opened, [...cambrianShapes(config, model.towers).keys()], stage, seed);
  const maker = new Batches(opened, family, towers, training, options);
  return {
    ...learned.parameters,
    loss: (t, p) => cambrianLoss(t, learned.wrap(p), training),
    batch: (samples) => maker.make(samples),
    about: { directory: opened.directory, template: family.template, features: () => towers.counts },
    close: () => void towers.close(),
  };
}

/** Tokens of a picture in training: whole, with a newline behind every row. */
export function cambrianPictureTokens({ model }: CambrianFamily): number {
  const { side } = model.config.connector;
  return side * (side + 1);
}

class Batches {
  readonly #family: CambrianFamily;
  readonly #samples: SampleMaker;
  readonly #training: CambrianTraining;
  readonly #stage: Stage;
  readonly #pad: number;
  readonly #towers: FrozenTowers;

  constructor(
    opened: OpenedModel,
    family: CambrianFamily,
    towers: FrozenTowers,
    training: CambrianTraining,
    { stage, first }: TrainableOptions,
  ) {
    const { tokenizer } = opened;
    this.#family = family;
    this.#training = training;
    this.#towers = towers;
    this.#stage = stage;
    this.#samples = new SampleMaker({
      tokenizer,
      template: family.template,
      images: imagesOf(stage.data),
      length: training.length,
      independent: training.branched === true,
      pictureTokens: cambrianPictureTokens(family),
      upright: false,
      towers,
      first,
    });
    const spellings = ['<|reserved_special_token_0|>', '<pad>', '<unk>', '<|endoftext|>'];
    this.#pad = spellings.map((token) => tokenizer.idOf(token)).find((id) => id !== undefined) ?? 0;
  }

  async make(samples: readonly LlavaSample[]): Promise<TrainBatch> {
    const { prepared, replaced } = await this.#samples.prepare(samples);
    const { side } = this.#training.connector;
    const pictures = prepared.map(({ picture }) => picture ?? dummyPicture);
    const batch = this.#laidOut(prepared, pictures);
    const { inputs, targets } = cambrianInputs(this.#training, batch, pictures, prepared);
    const seen = sightInputs(
      this.#towers,
      prepared.map(({ features }) => features),
    );
    const all = new Map<string, Numbers>([...inputs, ...seen]);
    const visual = prepared.flatMap(({ picture }, i) => {
      if (picture === undefined) return [];
      const row = batch.slots.subarray(i * batch.length, (i + 1) * batch.length);
      const area = crop(picture, side);
      const wanted = this.#stage.layout === 'unpad' ? area.height * (area.width + 1) : side * (side + 1);
      return [
        { found: row.filter((slot) => slot !== textSlot && slot !== emptySlot && slot >= newlineSlot).length, wanted },
      ];
    });
    return { inputs: all, targets, tokens: batch.attend.reduce((sum, one) => sum + one, 0), visual, replaced };
  }

  #laidOut(prepared: readonly PreparedSample[], pictures: readonly PictureSize[]): SequenceBatch {
    const { side } = this.#training.connector;
    const { length: maxLength } = this.#training;
    if (this.#stage.layout === 'unpad')
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
}

/** What is said where the towers of a Cambrian should learn. */
export function towersStayFrozen(op: 'train' | 'plan', stage: string): OpabiniaError {
  return new OpabiniaError(`${stage} unfreezes the towers of a Cambrian, which learns from their maps`, {
    op,
    advice: 'leave the towers frozen, or assemble towers, connector and language model with `opabinia assemble`',
  });
}
