// An assembled model as something that learns: the loss of its connector and language model, samples as batches.
import { OpabiniaError } from '../../dsl/error.ts';
import { order } from '../../dsl/graph/walk.ts';
import { evaluateSize, roleOf } from '../../dsl/index.ts';
import type { Shapes } from '../../models/configs/param-shapes.ts';
import { nameOf } from '../../dsl/ops/source.ts';
import {
  assembledShapes,
  assembledTowersGraph,
  pictureTokenCount,
  type AssembledModel,
} from '../../models/multimodal/assembled-model.ts';
import { assembledLoss } from '../../models/multimodal/assembled-training.ts';
import { sequenceInputs } from '../../models/multimodal/cambrian-training.ts';
import { dummyPicture, imagePlaceholder, layOutForInference } from '../../models/sequence/collate.ts';
import type { Numbers } from '../../runtime/program/numbers.ts';
import type { AssembledFamily } from '../answer/families/assembled.ts';
import type { OpenedModel } from '../answer/open-model.ts';
import { FrozenTowers } from './frozen-towers.ts';
import { learnable } from './learnable.ts';
import { imagesOf, microBatchOf } from './recipe/recipe.ts';
import { SampleMaker, type PreparedSample } from './sample-maker.ts';
import { pixelSight, sightInputs, type Sight } from './data/seen-pictures.ts';
import type { TrainBatch, Trainable, TrainableOptions } from './trainable.ts';

/** Throws `OpabiniaError` for a language model that caps its logits, which the loss does not know. */
export function assembledTrainable(
  opened: OpenedModel,
  family: AssembledFamily,
  { device, stage, seed, cache, first }: TrainableOptions,
): Trainable {
  const { model } = family;
  checkLearns(model);
  const maps = model.towers.map(({ map }) => map);
  const sides = model.towers.map(({ side }) => side);
  const towersLearn = stage.unfreezeTowers === true;
  const frozen = towersLearn
    ? undefined
    : new FrozenTowers(opened, device, cache, {
        about: [maps, sides],
        files: family.files,
        maps,
        sides,
        graph: (pictures) => assembledTowersGraph(opened.source, model, pictures),
        inputs: family.pixels,
      });
  const towers: Sight = frozen ?? pixelSight(sides, family.pixels);
  const pictureTokens = pictureTokenCount(model);
  const samples = new SampleMaker({
    tokenizer: opened.tokenizer,
    template: family.template,
    images: imagesOf(stage.data),
    length: stage.length,
    independent: stage.turns === 'independent',
    pictureTokens,
    upright: opened.upright,
    towers,
    first,
  });
  const batch = microBatchOf(stage);
  const sizes = {
    batch,
    length: stage.length,
    pictures: batch,
    dtype: opened.source.dtype,
    branched: stage.turns === 'independent',
    recomputes: stage.gradientCheckpointing,
    towersLearn,
  };
  const names = [...assembledShapes(model).keys(), ...(towersLearn ? towerShapesOf(opened, model).keys() : [])];
  const learned = learnable(opened, names, stage, seed);
  return {
    ...learned.parameters,
    loss: (t, p, learns) => assembledLoss(t, learned.wrap(p), model, { ...sizes, learns }),
    batch: async (given) => {
      const { prepared, replaced } = await samples.prepare(given);
      return {
        ...batched(prepared, model, {
          length: stage.length,
          pictureTokens,
          branched: stage.turns === 'independent',
          towers,
        }),
        replaced,
      };
    },
    about: { directory: opened.directory, template: family.template, features: () => frozen?.counts },
    close: () => void frozen?.close(),
  };
}

/** The parameters that the towers' maps are made of. */
export function towerShapesOf({ source }: Pick<OpenedModel, 'source'>, model: AssembledModel): Shapes {
  return new Map(
    order(assembledTowersGraph(source, model))
      .filter((node) => roleOf(node) === 'param')
      .map((node) => [nameOf(node), node.type.axes.map(({ size }) => evaluateSize(size, new Map()))]),
  );
}

/** Throws `OpabiniaError`. */
export function checkLearns({ language }: AssembledModel): void {
  if (language.config.logitCap !== undefined)
    throw new OpabiniaError('the language model caps its logits, and the loss is of logits as they are', {
      op: 'train',
      advice: 'take a language model that does not, such as a Llama or a Qwen',
    });
}

function batched(
  prepared: readonly PreparedSample[],
  model: AssembledModel,
  {
    length,
    pictureTokens,
    branched,
    towers,
  }: {
    readonly length: number;
    readonly pictureTokens: number;
    readonly branched: boolean;
    readonly towers: Sight;
  },
): Omit<TrainBatch, 'replaced'> {
  const given = layOutForInference(
    prepared.map((sample, i) => ({ ...sample, images: sample.ids.includes(imagePlaceholder) ? [i] : [] })),
    prepared.map(({ picture }) => picture ?? dummyPicture),
    { side: 1, tokens: pictureTokens, maxLength: length },
  );
  const { batch, inputs, targets } = sequenceInputs(model.language, length, given, branched ? prepared : undefined);
  const all = new Map<string, Numbers>([
    ...inputs,
    ...sightInputs(
      towers,
      prepared.map(({ features }) => features),
    ),
  ]);
  const visual = prepared.flatMap(({ picture }, i) => {
    if (picture === undefined) return [];
    const row = batch.slots.subarray(i * batch.length, (i + 1) * batch.length);
    return [{ found: row.filter((slot) => slot >= 0).length, wanted: pictureTokens }];
  });
  return { inputs: all, targets, tokens: batch.attend.reduce((sum, one) => sum + one, 0), visual };
}
