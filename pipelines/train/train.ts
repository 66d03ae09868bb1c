// A recipe from beginning to end: stage after stage, in a folder that says everything, gone on with where it stopped.
import type { Device } from '../../runtime/device/device.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { openModel } from '../answer/open-model.ts';
import { modelDigest } from '../model-identity.ts';
import { trainableOf } from './trainable-of.ts';
import type { LlavaFile, LlavaSample } from './data/llava-file.ts';
import { firstSample, generatedSamples, openDataSet, type OpenData } from './data/open-data.ts';
import { fileSamples, skipped } from './data/sample-stream.ts';
import { openRun, type OpenedRun } from './record/open-run.ts';
import { checkRecipe } from './recipe/open-recipe.ts';
import { microBatchOf, stepsOf, type Recipe, type Stage } from './recipe/recipe.ts';
import type { OpenedCheckpoint } from './run/checkpoints.ts';
import { sanity } from './run/sanity.ts';
import type { StageResult, StageRun } from './run/loop.ts';
import { trainStage } from './run/train-stage.ts';
import { dropStageWeights, writeStageWeights } from './run/stage-weights.ts';
import { withLearned, type LearnedModel } from './learned-model.ts';
import { requireFields } from '../../dsl/graph/required.ts';
import { makeFolder, checkFolder } from '../../runtime/files/make-folder.ts';
import { plural } from '../../dsl/text/plural.ts';

export interface TrainOptions {
  /** Where the folder of the run and the cache of features are; default `runs`. */
  readonly root?: string | undefined;
  /**
   * Go on with the run of this name, or begin it where there is none. A recipe that differs from the run's record in what has been trained
   * already is refused; other changes are written into the record.
   */
  readonly resume?: boolean | undefined;
  /** Overfit one batch instead, and keep nothing but the features of its pictures. */
  readonly sanity?: boolean | undefined;
  readonly stopped?: (() => boolean) | undefined;
  /** Called when a stage has ended and its weights are kept; the next one waits. `writeTrained(folder, …)` writes the model as it is then. */
  readonly ended?: ((stage: Stage, folder: string) => Promise<void>) | undefined;
  readonly print: (line: string) => void;
}

export interface TrainReport {
  readonly folder: string;
  readonly stages: readonly StageResult[];
  /** The run had ended before: no step was taken. */
  readonly finished: boolean;
}

/**
 * Trains what a recipe says, stage after stage, in a folder of its own, which is made when all is checked and the first step is about to be
 * taken. Throws `OpabiniaError`, `DeviceError`; what was saved before stays.
 * @example await train(recipe, await openDevice(), { print: console.log })
 */
export async function train(recipe: Recipe, device: Device, options: TrainOptions): Promise<TrainReport> {
  // Untyped code may give nothing at all.
  const named = recipe as Recipe | undefined | null;
  checkRecipe(recipe, named === undefined || named === null ? 'the recipe' : `recipe '${named.name}'`);
  requireFields(
    'train',
    device,
    { facts: 'object' },
    'train(recipe, await openDevice(), { print: console.log })',
    'the device',
  );
  requireFields('train', options, { print: 'function' }, 'train(recipe, await openDevice(), { print: console.log })');
  const { root = 'runs', print, resume = false } = options;
  checkFolder(root, 'train');
  const isSanity = options.sanity === true;
  const stopped = options.stopped ?? (() => false);
  const run = isSanity ? undefined : openRun(recipe, device, { root, resume, print });
  const checkpoint = run?.checkpoint;
  const from = checkpoint?.position.stage ?? 0;
  const results: StageResult[] = [];
  const opened: StageData[] = [];
  let finished = false;
  try {
    // The data of every stage, before hours go into the first.
    for (const [index, stage] of recipe.stages.entries())
      if (index >= from) opened.push(openStage(stage, index, recipe.seed ?? 0));
    const [first] = opened;
    run?.checkData(opened);
    if (checkpoint !== undefined && first !== undefined) {
      finished = opened.length === 1 && checkpoint.position.step >= first.total;
      if (finished) run?.conclude();
      else print(`going on from ${checkpoint.path}`);
    }
    for (const own of opened) {
      const result = await oneStage({
        ...own,
        recipe,
        device,
        run,
        root,
        checkpoint: own.index === from ? checkpoint : undefined,
        stopped,
        print,
      });
      results.push(result);
      if (result.ended === 'stopped') break;
      if (run !== undefined) await options.ended?.(own.stage, run.folder.path);
    }
  } finally {
    checkpoint?.close();
    run?.close();
    for (const { data, held } of opened) for (const set of [data, held]) set?.file?.close();
  }
  return { folder: run?.folder.path ?? '', stages: results, finished };
}

/** A stage with its data. */
interface StageData {
  readonly stage: Stage;
  readonly index: number;
  readonly data: OpenData;
  /** For the loss on other samples. */
  readonly held: OpenData | undefined;
  /** Its steps. */
  readonly total: number;
}

function openStage(stage: Stage, index: number, seed: number): StageData {
  const data = openDataSet(stage.data, seed);
  let held: OpenData | undefined;
  try {
    held = stage.evaluation === undefined ? undefined : openDataSet(stage.evaluation.data, seed);
    if (held !== undefined && held.count < microBatchOf(stage))
      throw new OpabiniaError(
        `the evaluation of stage '${stage.name}' has ${plural(held.count, 'sample')}, and ${microBatchOf(stage)} are judged at once`,
        { op: 'train', advice: 'give it more samples, or a smaller microBatch' },
      );
    return { stage, index, data, held, total: stepsOf(stage, data.count) };
  } catch (error) {
    for (const set of [data, held]) set?.file?.close();
    throw error;
  }
}

interface OneStage extends StageData {
  readonly recipe: Recipe;
  readonly device: Device;
  readonly run: OpenedRun | undefined;
  readonly root: string;
  readonly checkpoint: OpenedCheckpoint | undefined;
  readonly stopped: () => boolean;
  readonly print: (line: string) => void;
}

async function oneStage(one: OneStage): Promise<StageResult> {
  const { recipe, stage, index, device, run, data, held, total, print, checkpoint } = one;
  const folder = run?.folder;
  if (folder !== undefined && checkpoint !== undefined && checkpoint.position.step >= total) {
    await writeStageWeights(folder.path, index);
    const last = folder.metrics().findLast((line) => line.stage === index);
    return { position: checkpoint.position, ended: 'done', total, loss: last?.loss ?? NaN };
  }
  const seed = recipe.seed ?? 0;
  const base = await openModel(recipe.model, {
    dtype: recipe.dtype,
    towers: recipe.towers,
    connectors: recipe.connectors,
  });
  let opened: LearnedModel;
  try {
    run?.checkModel(base.directory, modelDigest(base));
    opened = withLearned(base, folder?.path, index, recipe.stages);
  } catch (error) {
    base.close();
    throw error;
  }
  try {
    makeFolder(one.root);
    const trainable = trainableOf(opened, {
      device,
      stage,
      seed,
      cache: one.root,
      first: () => firstSample(stage.data, data.file),
    });
    try {
      const skip = checkpoint?.position.samples ?? 0;
      const samples = (from: number): AsyncIterable<LlavaSample> =>
        data.file === undefined
          ? skipped(generatedSamples(stage.data), from)
          : fileSamples(data.file, {
              seed: seed + index,
              skip: from,
              groupedBy: stage.groupByLength === true ? stage.batch : undefined,
            });
      print(`${stage.name}: ${plural(total, 'step')} of ${plural(stage.batch, 'sample')}, ${data.count} in the data`);
      if (run === undefined) return await sanity({ stage, index, trainable, device, samples: samples(0), print });
      const stageRun: StageRun = {
        stage,
        index,
        trainable,
        device,
        folder: run.folder,
        total,
        count: data.count,
        samples: samples(skip),
        held: held === undefined ? undefined : () => heldSamples(stage, held.file),
        checkpoint,
        begins: () => {
          run.begin();
          dropStageWeights(run.folder.path, index);
        },
        stopped: one.stopped,
        print,
      };
      const result = await trainStage(stageRun);
      if (result.ended !== 'stopped') await writeStageWeights(run.folder.path, index);
      return result;
    } finally {
      trainable.close();
    }
  } finally {
    opened.close();
  }
}

/** In the order of the file: the same batches each time. */
async function* heldSamples({ evaluation }: Stage, file: LlavaFile | undefined): AsyncGenerator<LlavaSample> {
  if (evaluation === undefined) return;
  if (file === undefined) yield* generatedSamples(evaluation.data);
  else for (let i = 0; i < file.count; i++) yield file.sample(i);
}
