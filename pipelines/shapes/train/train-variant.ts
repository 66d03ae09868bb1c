// One variant learns, with the loop of our trainer: a folder of its own, checkpoints, gone on with where it stopped.
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import {
  crossEntropy,
  OpabiniaError,
  randomParams,
  trace,
  type Tensor,
  type Trace,
  type Params,
} from '../../../dsl/index.ts';
import { withPlacesOfErrors } from '../../../dsl/origin.ts';
import { print } from '../../../dsl/text/print.ts';
import { lossesOf, withAddedLosses } from '../../../models/sequence/added-losses.ts';
import { openCheckpoint } from '../../../runtime/checkpoint/checkpoint.ts';
import type { Source } from '../../../runtime/checkpoint/joined-source.ts';
import type { Device } from '../../../runtime/device/device.ts';
import { writeFileAtomic } from '../../../runtime/files/atomic-file.ts';
import { adamW } from '../../train/optimizers/adamw.ts';
import type { Stage } from '../../train/recipe/recipe.ts';
import { newestCheckpoint } from '../../train/run/checkpoints.ts';
import { RunFolder, type MetricLine } from '../../train/run/run-folder.ts';
import { trainStage } from '../../train/run/train-stage.ts';
import type { Trainable } from '../../train/trainable.ts';
import { fromScratch } from '../from-scratch.ts';
import { randomStream } from '../scene/random.ts';
import { sceneOf, sceneSamples } from '../scene-samples.ts';
import { shapesRead } from '../variants/narrow.ts';
import { labelsShape } from '../variants/labels-map.ts';
import { questionsPerPicture, trainPresets, type TrainPreset } from './presets.ts';
import { answersOf, inputsOf, type Task } from './task.ts';
import { variantLogits, type GraphSizes, type Made, type Variant } from '../variants/variant.ts';

export interface TrainVariantOptions {
  readonly device: Device;
  readonly root: string;
  readonly seed: number;
  readonly steps: number;
  /** Whatever else the run depends on: of another key, what was learned before is not gone on with. */
  readonly key: string;
  readonly stopped: () => boolean;
  readonly print: (line: string) => void;
}

export interface Trained {
  readonly folder: string;
  readonly parameters: number;
  readonly curve: readonly MetricLine[];
  /** Seconds of its steps, all sittings together. */
  readonly seconds: number;
}

/** Sizes of the graphs of a task. */
export function graphSizes(task: Task, batch: number): GraphSizes {
  const { decoder } = trainPresets[task.preset];
  return { batch, questions: questionsPerPicture, encoders: task.encoders, labels: labelsShape, decoder };
}

/** Names, as files may have them. */
export function folderName(variant: Variant, seed: number): string {
  return `${variant.name.replace(/[^A-Za-z0-9.=+-]+/g, '_')}-seed-${seed}`;
}

/** Undefined where it was told to stop before it was done. Throws what its connector throws, and `OpabiniaError`. */
export async function trainVariant(
  variant: Variant,
  task: Task,
  options: TrainVariantOptions,
  preset: TrainPreset = trainPresets[task.preset],
): Promise<Trained | undefined> {
  const trainable = trainableOf(variant, task, preset, options.seed);
  return trainInFolder(trainable, shapesStage(preset, options.steps), folderName(variant, options.seed), {
    ...options,
    count: task.train.scenes.length,
  });
}

/** What a variant computes, as text: a connector that was edited is another one, though its name and its config are the same. */
export function textOfVariant(
  variant: Variant,
  task: Task,
  { batch }: TrainPreset = trainPresets[task.preset],
): string {
  const sizes = graphSizes(task, batch);
  const graph = withPlacesOfErrors(() =>
    trace(randomParams(0), (t) => outputsOf(variantLogits(t, t.params, variant, sizes)), { unread: 'ignore' }),
  );
  return print(graph);
}

/** All that learning depends on. */
function outputsOf({ logits, visual }: Pick<Made, 'logits' | 'visual'>): Readonly<Record<string, Tensor>> {
  return { logits, ...(visual === undefined ? {} : lossesOf(visual)) };
}

/** One stage on scenes in a folder of its own, gone on with where it stopped; begun anew where its steps or its key are others. */
export async function trainInFolder(
  trainable: Trainable,
  stage: Stage,
  name: string,
  options: Omit<TrainVariantOptions, 'seed'> & { readonly count: number },
): Promise<Trained | undefined> {
  const { device, steps, print: say } = options;
  const about = `${steps} ${options.key}`;
  if (aboutOf(join(options.root, name)) !== about) rmSync(join(options.root, name), { recursive: true, force: true });
  const folder = new RunFolder(options.root, name, true);
  writeFileAtomic(join(folder.path, 'about'), about, { op: 'shapes' });
  const checkpoint = newestCheckpoint(folder.path, (text) => say(`  · ${text}`));
  const parameters = countOf(trainable);
  try {
    if (checkpoint === undefined || checkpoint.position.step < steps) {
      folder.rewind(0, checkpoint?.position.step ?? 0);
      const started = performance.now();
      const result = await trainStage({
        stage,
        index: 0,
        trainable,
        device,
        folder,
        total: steps,
        count: options.count,
        samples: sceneSamples(checkpoint?.position.samples ?? 0),
        checkpoint,
        stopped: options.stopped,
        print: (line) => {
          if (/✗|skipped|jumps/.test(line)) say(line);
        },
      });
      addSeconds(folder.path, (performance.now() - started) / 1000);
      if (result.ended !== 'done') return undefined;
    }
  } finally {
    checkpoint?.close();
  }
  return { folder: folder.path, parameters, curve: folder.metrics(), seconds: secondsOf(folder.path) };
}

/** What it has learned. The caller closes it. */
export function openTrained({ folder }: Pick<Trained, 'folder'>): Source & { readonly close: () => void } {
  const last = newestCheckpoint(folder, () => undefined);
  if (last === undefined)
    throw new OpabiniaError(`${folder} has no checkpoint that can be read`, {
      op: 'shapes',
      advice: 'delete it: it is trained again',
    });
  last.close();
  return openCheckpoint(join(last.path, 'model.safetensors'), { dtype: 'f32' });
}

function aboutOf(folder: string): string | undefined {
  const path = join(folder, 'about');
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}

function secondsOf(folder: string): number {
  const path = join(folder, 'seconds');
  return existsSync(path) ? Number(readFileSync(path, 'utf8')) : 0;
}

function addSeconds(folder: string, seconds: number): void {
  writeFileAtomic(join(folder, 'seconds'), String(secondsOf(folder) + seconds), { op: 'shapes' });
}

/** The recipe of every comparison on scenes: AdamW, one rate for all, warm-up and cosine. */
export function shapesStage({ batch, rate }: Pick<TrainPreset, 'batch' | 'rate'>, steps: number): Stage {
  return {
    name: 'shapes',
    data: { samples: () => sceneSamples(0), count: 1, images: '.' },
    groups: [{ paths: ['*'], lr: rate }],
    optimizer: adamW({ betas: [0.9, 0.98] }),
    schedule: { shape: 'cosine', warmup: { steps: Math.min(100, Math.ceil(steps / 10)) } },
    batch,
    steps,
    length: 1,
    saveEvery: 100,
    logEvery: 10,
  };
}

function trainableOf(variant: Variant, task: Task, { batch }: TrainPreset, seed: number): Trainable {
  const sizes = graphSizes(task, batch);
  const loss = (t: Trace, p: Params, learns = true) => {
    const { logits, visual } = variantLogits(t, p, variant, sizes);
    const labels = t.input('labels', 'b q', { b: batch, q: questionsPerPicture }, 'i32');
    const sum = crossEntropy(logits, labels, { axis: 'a', reduction: 'sum' });
    return learns ? withAddedLosses(sum, labels, visual) : sum;
  };
  const shapes = shapesRead(trace(randomParams(0), (t) => ({ loss: loss(t, t.params) }), { unread: 'ignore' }));
  const order = pictureOrder(task.train.scenes.length, seed);
  return {
    source: fromScratch(shapes, seed),
    paths: [...shapes.keys()],
    loss,
    batch: async (samples) => {
      const indices = samples.map((sample) => order(sceneOf(sample)));
      const inputs = inputsOf(variant, task.train, indices);
      const labels = answersOf(task.train, indices);
      inputs.set('labels', labels);
      const targets = labels.reduce((sum, label) => sum + (label >= 0 ? 1 : 0), 0);
      return { inputs, targets, tokens: targets, visual: [], replaced: [] };
    },
    about: { variant: variant.name, config: variant.config },
    close: () => undefined,
  };
}

function countOf({ source, paths }: Trainable): number {
  return paths.reduce((sum, path) => sum + (source.shape(path) ?? []).reduce((product, size) => product * size, 1), 0);
}

/** The picture of sample i: epoch after epoch, each in an order of its own that depends on the seed alone: all variants see the same. */
export function pictureOrder(count: number, seed: number): (sample: number) => number {
  const orders = new Map<number, Uint32Array>();
  return (sample) => {
    const epoch = Math.floor(sample / count);
    let order = orders.get(epoch);
    if (order === undefined) {
      const random = randomStream(`order ${seed}`, epoch);
      order = Uint32Array.from({ length: count }, (_, i) => i);
      for (let i = count - 1; i > 0; i--) {
        const j = random.below(i + 1);
        const kept = order[i] ?? 0;
        order[i] = order[j] ?? 0;
        order[j] = kept;
      }
      orders.set(epoch, order);
    }
    return order[sample % count] ?? 0;
  };
}
