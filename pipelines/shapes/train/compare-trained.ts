// Connectors compared by training: every variant and every control under one budget and the same seeds, each kept when it is done.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { OpabiniaError } from '../../../dsl/error.ts';
import type { AnyConnector } from '../../../models/connectors/connector.ts';
import type { Device } from '../../../runtime/device/device.ts';
import { writeFileAtomic } from '../../../runtime/files/atomic-file.ts';
import { openEncoders } from '../encoders/open-encoders.ts';
import { scenePresets, type PresetName } from '../scene/scene.ts';
import { averagePooling, oracle, plainResampler } from '../variants/controls.ts';
import { readsOf, variantAt, type GridPoint } from '../variants/grid.ts';
import { judgeVariant, type Judged } from './judge-variant.ts';
import { labelsShape } from '../variants/labels-map.ts';
import { fit } from '../variants/narrow.ts';
import { questionsPerPicture, trainPresets } from './presets.ts';
import { sceneFeatures } from './scene-features.ts';
import { firstTrained, openSplit, taskOf, type Task } from './task.ts';
import { folderName, openTrained, textOfVariant, trainVariant, type Trained } from './train-variant.ts';
import { mapsRead, type Variant } from '../variants/variant.ts';
import { makeFolder } from '../../../runtime/files/make-folder.ts';
import { plural } from '../../../dsl/text/plural.ts';

export interface CompareTrainedOptions {
  readonly preset: PresetName;
  /** Visual tokens that each connector's knobs are turned towards. */
  readonly tokens: number;
  /** How many seeds: 1, 2, … */
  readonly seeds: number;
  /** The budget of a variant: steps, or minutes of training on this machine. By default the preset's steps. */
  readonly steps?: number | undefined;
  readonly minutes?: number | undefined;
  readonly grid?: readonly (readonly GridPoint[])[] | undefined;
  /** Those of the connectors whose author is asking: where one cannot be built, nothing is trained. */
  readonly own?: readonly AnyConnector[] | undefined;
  /** Folder of the runs and of the features. */
  readonly root: string;
  /** Folder of the encoders; by default those that come with the package. */
  readonly encoders?: string | undefined;
  /** Fewer scenes than the preset has: for tests. */
  readonly scenes?: { readonly train: number; readonly held: number } | undefined;
  readonly device: () => Promise<Device>;
  readonly stopped: () => boolean;
  readonly print: (line: string) => void;
}

/** One variant with one seed. */
export interface RunResult {
  readonly seed: number;
  readonly steps: number;
  readonly seconds: number;
  readonly curve: readonly { readonly step: number; readonly loss: number }[];
  readonly judged: Judged;
}

export interface VariantResult {
  readonly variant: Variant;
  readonly parameters: number;
  readonly runs: readonly RunResult[];
}

/** A variant that could not be trained, and why. */
export interface Failed {
  readonly name: string;
  readonly reason: string;
}

export interface TrainedComparison {
  readonly options: Pick<CompareTrainedOptions, 'preset' | 'tokens' | 'seeds' | 'steps' | 'minutes'>;
  readonly task: Task;
  readonly results: readonly VariantResult[];
  readonly failed: readonly Failed[];
  /** False where it was told to stop: some runs are missing. */
  readonly complete: boolean;
}

/**
 * Throws `OpabiniaError` for two variants of one name, where the encoders are missing, and before anything is trained for a connector of the
 * asker's own that cannot be built and where none of what is asked for can. What fails in one of several does not stop the others.
 */
export async function compareTrained(
  connectors: readonly AnyConnector[],
  options: CompareTrainedOptions,
): Promise<TrainedComparison> {
  const { preset, print, root } = options;
  const encoders = openEncoders(preset, options.encoders);
  const failed: Failed[] = [];
  try {
    const maps = encoders.pair.map(({ map }) => map);
    const variants = variantsOf(connectors, options, maps, failed);
    makeFolder(root);
    const { train, held } = options.scenes ?? trainPresets[preset];
    const cache = { folder: join(root, 'features'), print };
    const split = async (from: number, count: number) =>
      openSplit(preset, from, await sceneFeatures(encoders, options.device, { from, count }, cache));
    const task = taskOf(encoders, await split(firstTrained, train), await split(0, held));
    const found = new Map<Variant, { parameters: number; runs: RunResult[] }>();
    let complete = true;
    for (let seed = 1; seed <= options.seeds && complete; seed++)
      for (const variant of variants) {
        if (failed.some(({ name }) => name === variant.name)) continue;
        try {
          const one = await oneRun(variant, task, encoders.key, seed, options);
          if (one === undefined) {
            complete = false;
            break;
          }
          const all = found.get(variant) ?? { parameters: one.parameters, runs: [] };
          all.runs.push(one.run);
          found.set(variant, all);
        } catch (error) {
          // A connector's own fault, with its line, is told at the end; ours is thrown.
          if (!(error instanceof OpabiniaError)) throw error;
          failed.push({ name: variant.name, reason: error.message });
          print(`${variant.name} fails: ${error.message.split('\n')[0] ?? ''}`);
        }
      }
    const results = [...found].map(([variant, { parameters, runs }]) => ({ variant, parameters, runs }));
    return { options, task, results, failed, complete };
  } finally {
    encoders.close();
  }
}

/** Controls first, then what is asked for at every point of the grid, the oracle last. */
function variantsOf(
  connectors: readonly AnyConnector[],
  { preset, tokens, own = [], grid = [[]], print }: CompareTrainedOptions,
  encoders: Task['encoders'],
  failed: Failed[],
): readonly Variant[] {
  const { decoder } = trainPresets[preset];
  const maps = (reads: Variant['reads']) => mapsRead(reads, encoders, labelsShape);
  const control = (connector: AnyConnector, reads: Variant['reads']): Variant => {
    const made = fit(connector, maps(reads), {
      width: decoder.width,
      tokens: reads === 'labels' ? labelsShape[0] ** 2 : tokens,
    });
    return { name: connector.name, ...made, reads, control: true };
  };
  const controls = [averagePooling, plainResampler] as unknown as readonly AnyConnector[];
  let first: OpabiniaError | undefined;
  const asked = connectors.flatMap((connector) =>
    grid.flatMap((points): readonly Variant[] => {
      const name = [connector.name, ...points.map(({ key, value }) => `${key}=${value}`)].join(' ');
      if (controls.some((own) => own === connector)) return [];
      try {
        const variant = variantAt(connector, points, { width: decoder.width, layers: decoder.layers, tokens, maps });
        if (variant.tokens > decoder.context)
          throw new OpabiniaError(
            `${name} gives ${plural(variant.tokens, 'token')}, and the decoder's context holds ${decoder.context}`,
            {
              op: 'shapes',
              advice: 'ask for fewer with --tokens, or take a larger preset',
            },
          );
        return [variant];
      } catch (error) {
        if (!(error instanceof OpabiniaError)) throw error;
        if (own.includes(connector)) throw unbuilt(name, error);
        failed.push({ name, reason: error.message });
        first ??= unbuilt(name, error);
        return [];
      }
    }),
  );
  if (asked.length === 0 && first !== undefined) throw first;
  for (const { name, reason } of failed)
    print(`${name} cannot be built and is left out: ${reason.split('\n')[0] ?? ''}`);
  const variants: readonly Variant[] = [
    { name: 'blind', used: undefined, config: {}, tokens: 0, reads: 'nothing', control: true },
    ...controls.map((connector) => control(connector, readsOf(connector))),
    ...asked,
    control(oracle as unknown as AnyConnector, 'labels'),
  ];
  const names = variants.map(({ name }) => name);
  const twice = names.find((name, i) => names.indexOf(name) !== i);
  if (twice !== undefined)
    throw new OpabiniaError(`two variants are called '${twice}'`, {
      op: 'shapes',
      advice: 'give your connector a name of its own; controls are blind, average-pooling, resampler, oracle',
    });
  return variants;
}

function unbuilt(name: string, error: OpabiniaError): OpabiniaError {
  return new OpabiniaError(`${name} cannot be built: ${error.message}`, { op: 'compare', cause: error });
}

interface KeptRun {
  readonly key: string;
  readonly parameters: number;
  readonly run: RunResult;
}

async function oneRun(
  variant: Variant,
  task: Task,
  encoders: string,
  seed: number,
  options: CompareTrainedOptions,
): Promise<KeptRun | undefined> {
  const { root, print, stopped } = options;
  const folder = join(root, folderName(variant, seed));
  const key = createHash('sha256')
    .update(
      JSON.stringify([
        encoders,
        textOfVariant(variant, task),
        variant.config,
        variant.reads,
        variant.tokens,
        task.preset,
        task.train.scenes.length,
        task.held.scenes.length,
        options.steps,
        options.minutes,
        seed,
      ]),
    )
    .digest('hex');
  const kept = readKept(join(folder, 'judged.json'));
  if (kept?.key === key) {
    print(`${variant.name}, seed ${seed}: done before`);
    return kept;
  }
  if (stopped()) return undefined;
  const device = await options.device();
  const sizes = { device, root, seed, key, stopped, print };
  const steps =
    options.steps ??
    (options.minutes === undefined
      ? trainPresets[task.preset].steps
      : await stepsWithin(options.minutes, variant, task, sizes, folder));
  print(`${variant.name}, seed ${seed}: ${plural(steps, 'step')}`);
  const trained = await trainVariant(variant, task, { ...sizes, steps });
  if (trained === undefined) return undefined;
  const source = openTrained(trained);
  let judged: Judged;
  try {
    judged = await judgeVariant(variant, task, source, device);
  } finally {
    source.close();
  }
  const made: KeptRun = { key, parameters: trained.parameters, run: resultOf(trained, judged, seed, steps) };
  writeFileAtomic(join(folder, 'judged.json'), JSON.stringify(made), { op: 'shapes' });
  const right = judged.right.reduce<number>((sum, one) => sum + one, 0) / judged.right.length;
  print(`${variant.name}, seed ${seed}: ${right.toFixed(3)} of all questions, ${trained.seconds.toFixed(0)} s`);
  return made;
}

function resultOf({ seconds, curve }: Trained, judged: Judged, seed: number, steps: number): RunResult {
  return { seed, steps, seconds, judged, curve: curve.map(({ step, loss }) => ({ step, loss: loss ?? NaN })) };
}

function readKept(path: string): KeptRun | undefined {
  if (!existsSync(path)) return undefined;
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as KeptRun;
  } catch {
    // Cut off while it was written: it is made again.
    return undefined;
  }
}

const probeSteps = 12;

/** Steps that fit into minutes, by the pace of a few; kept beside the run, so that going on has the same budget. */
async function stepsWithin(
  minutes: number,
  variant: Variant,
  task: Task,
  options: Omit<Parameters<typeof trainVariant>[2], 'steps'>,
  folder: string,
): Promise<number> {
  const path = `${folder}.${minutes}-minutes`;
  if (existsSync(path)) return Number(readFileSync(path, 'utf8'));
  const probe = await trainVariant(variant, task, { ...options, root: join(options.root, 'probe'), steps: probeSteps });
  const pace = probe?.curve.at(-1)?.tokensPerSecond ?? NaN;
  const perStep = trainPresets[task.preset].batch * questionsPerPicture;
  const steps = Math.max(1, Math.floor((minutes * 60 * pace) / perStep));
  if (!Number.isFinite(steps))
    throw new OpabiniaError('the pace of training could not be measured', { op: 'shapes', advice: 'give --steps' });
  writeFileAtomic(path, String(steps), { op: 'shapes' });
  return steps;
}

/** Pixels of the pictures, for reports. */
export function pictureSide(preset: PresetName): number {
  return scenePresets[preset].side;
}
