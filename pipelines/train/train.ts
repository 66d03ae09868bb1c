// A recipe from beginning to end: stage after stage, in a folder that says everything, gone on with where it stopped.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Device } from '../../runtime/device/device.ts';
import { contentKey } from '../../runtime/files/content-key.ts';
import { openModel } from '../answer/open-model.ts';
import { trainableOf } from './trainable-of.ts';
import type { LlavaFile, LlavaSample } from './data/llava-file.ts';
import { firstSample, generatedSamples, openDataSet } from './data/open-data.ts';
import { fileSamples, skipped } from './data/sample-stream.ts';
import type { Recipe, Stage } from './recipe/recipe.ts';
import { newestCheckpoint, type OpenedCheckpoint } from './run/checkpoints.ts';
import { RunFolder } from './run/run-folder.ts';
import { sanity } from './run/sanity.ts';
import type { StageResult, StageRun } from './run/loop.ts';
import { trainStage } from './run/train-stage.ts';
import { writeStageWeights } from './run/stage-weights.ts';
import { withLearned } from './learned-model.ts';

export interface TrainOptions {
  /** Where the folder of the run and the cache of features are; default `runs`. */
  readonly root?: string | undefined;
  readonly resume?: boolean | undefined;
  /** Overfit one batch instead, and write nothing. */
  readonly sanity?: boolean | undefined;
  readonly stopped?: (() => boolean) | undefined;
  /** Called when a stage has ended and its weights are kept; the next one waits. `writeTrained(folder, …)` writes the model as it is then. */
  readonly ended?: ((stage: Stage, folder: string) => Promise<void>) | undefined;
  readonly print: (line: string) => void;
}

export interface TrainReport {
  readonly folder: string;
  readonly stages: readonly StageResult[];
}

/**
 * Trains what a recipe says, stage after stage, in a folder of its own. Throws `OpabiniaError`, `DeviceError`; what was saved before stays.
 * @example await train(recipe, await openDevice(), { print: console.log })
 */
export async function train(recipe: Recipe, device: Device, options: TrainOptions): Promise<TrainReport> {
  const { root = 'runs', print } = options;
  const stopped = options.stopped ?? (() => false);
  const folder = options.sanity === true ? undefined : new RunFolder(root, recipe.name, options.resume === true);
  const checkpoint =
    folder === undefined || options.resume !== true
      ? undefined
      : newestCheckpoint(folder.path, (text) => print(`  · ${text}`));
  const results: StageResult[] = [];
  try {
    if (checkpoint === undefined) folder?.writeConfig(describe(recipe, device));
    else print(`going on from ${checkpoint.path}`);
    folder?.rewind(checkpoint?.position.stage ?? 0, checkpoint?.position.step ?? 0);
    for (const [index, stage] of recipe.stages.entries()) {
      if (checkpoint !== undefined && index < checkpoint.position.stage) continue;
      const own = checkpoint?.position.stage === index ? checkpoint : undefined;
      const result = await oneStage({
        recipe,
        stage,
        index,
        device,
        folder,
        root,
        checkpoint: own,
        stopped,
        print,
        sanity: options.sanity === true,
      });
      results.push(result);
      if (result.ended === 'stopped') break;
      if (folder !== undefined) await options.ended?.(stage, folder.path);
    }
  } finally {
    checkpoint?.close();
  }
  return { folder: folder?.path ?? '', stages: results };
}

interface OneStage {
  readonly recipe: Recipe;
  readonly stage: Stage;
  readonly index: number;
  readonly device: Device;
  readonly folder: RunFolder | undefined;
  readonly root: string;
  readonly checkpoint: OpenedCheckpoint | undefined;
  readonly stopped: () => boolean;
  readonly print: (line: string) => void;
  readonly sanity: boolean;
}

async function oneStage(one: OneStage): Promise<StageResult> {
  const { recipe, stage, index, device, folder, print, checkpoint } = one;
  const seed = recipe.seed ?? 0;
  const data = openDataSet(stage.data, seed);
  const opened = withLearned(
    await openModel(recipe.model, { dtype: recipe.dtype, towers: recipe.towers }),
    folder?.path,
    index,
    recipe.stages,
  );
  mkdirSync(one.root, { recursive: true });
  const trainable = trainableOf(opened, {
    device,
    stage,
    seed,
    cache: one.root,
    first: () => firstSample(stage.data, data.file),
  });
  const held = stage.evaluation === undefined ? undefined : openDataSet(stage.evaluation.data, seed);
  try {
    const total = stage.steps ?? Math.ceil(((stage.epochs ?? 1) * data.count) / stage.batch);
    const skip = checkpoint?.position.samples ?? 0;
    const samples = (from: number): AsyncIterable<LlavaSample> =>
      data.file === undefined
        ? skipped(generatedSamples(stage.data), from)
        : fileSamples(data.file, {
            seed: seed + index,
            skip: from,
            groupedBy: stage.groupByLength === true ? stage.batch : undefined,
          });
    print(`${stage.name}: ${total} steps of ${stage.batch} samples, ${data.count} in the data`);
    if (one.sanity) return await sanity({ stage, index, trainable, device, samples: samples(0), print });
    if (folder === undefined) throw new TypeError('a run has a folder');
    const run: StageRun = {
      stage,
      index,
      trainable,
      device,
      folder,
      total,
      count: data.count,
      samples: samples(skip),
      held: held === undefined ? undefined : () => heldSamples(stage, held.file),
      checkpoint,
      stopped: one.stopped,
      print,
    };
    const result = await trainStage(run);
    if (result.ended !== 'stopped') await writeStageWeights(folder.path, index);
    return result;
  } finally {
    trainable.close();
    data.file?.close();
    held?.file?.close();
    opened.close();
  }
}

/** In the order of the file: the same batches each time. */
async function* heldSamples({ evaluation }: Stage, file: LlavaFile | undefined): AsyncGenerator<LlavaSample> {
  if (evaluation === undefined) return;
  if (file === undefined) yield* generatedSamples(evaluation.data);
  else for (let i = 0; i < file.count; i++) yield file.sample(i);
}

/** Everything that a run depends on. */
function describe(recipe: Recipe, device: Device): unknown {
  return {
    recipe: JSON.parse(JSON.stringify(recipe)) as unknown,
    git: gitCommit(),
    generator: generatorHash(),
    device: device.facts.name,
    driver: device.facts.driver,
    node: process.version,
  };
}

/** The commit of the code, with a mark when files differ from it; undefined where there is no git. */
function gitCommit(): string | undefined {
  const ask = (...words: readonly string[]): string =>
    execFileSync('git', words, {
      cwd: import.meta.dirname,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  try {
    return `${ask('rev-parse', 'HEAD')}${ask('status', '--porcelain') === '' ? '' : '+changes'}`;
  } catch {
    return undefined;
  }
}

/** A hash over the sources that make kernels: two runs of one hash have the same ones. */
function generatorHash(): string {
  const root = join(import.meta.dirname, '../..');
  const files = ['dsl', 'compiler'].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.ts') || name.endsWith('.js'))
      .map((name) => join(root, folder, name))
      .sort(),
  );
  return contentKey([], files).slice(0, 16);
}
