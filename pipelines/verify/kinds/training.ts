// What golden files of training have in common: steps one after the other, learning rates by schedule, states compared after some of them.
import { OpabiniaError, type ParamSource } from '../../../dsl/index.ts';
import type { ConfigReader } from '../../../models/configs/config-reader.ts';
import type { InitialStates } from '../../../runtime/program/upload.ts';
import type { Numbers } from '../../../runtime/program/numbers.ts';
import { adamW } from '../../train/optimizers/adamw.ts';
import { lion } from '../../train/optimizers/lion.ts';
import { muon } from '../../train/optimizers/muon.ts';
import type { Optimizer } from '../../train/optimizers/optimizer.ts';
import { sgd } from '../../train/optimizers/sgd.ts';
import type { ResolvedGroup } from '../../train/step/groups.ts';
import { rateFactor, type Schedule } from '../../train/step/schedule.ts';
import { metricNames, type TrainGraphs } from '../../train/step/train-graph.ts';
import type { Outputs, Together } from '../backends.ts';
import type { Tolerance } from '../verdict.ts';
import type { GoldenFile } from '../golden-file.ts';

/** The optimizer that a config names, with its hyperparameters. */
export function optimizerOf(config: ConfigReader): Optimizer {
  const betas = (): readonly [number, number] => {
    const [first = NaN, second = NaN] = config.numbers('betas');
    return [first, second];
  };
  const name = config.text('name');
  switch (name.toLowerCase()) {
    case 'adamw':
      return adamW({ betas: betas(), eps: config.number('eps', 1e-8) });
    case 'lion':
      return lion({ betas: betas() });
    case 'sgd':
      return sgd({
        momentum: config.number('momentum', 0),
        dampening: config.number('dampening', 0),
        nesterov: config.flag('nesterov', false),
      });
    case 'muon':
      return muon({ momentum: config.number('momentum', 0.95), nesterov: config.flag('nesterov', true) });
    default:
      throw config.wrong('name', `is '${name}'`, 'known are AdamW, SGD, Lion and Muon');
  }
}

export function groupsOf(config: ConfigReader): readonly ResolvedGroup[] {
  return config.list('groups').map((group) => {
    const members = names(group);
    return { paths: members, members, lr: group.number('lr'), weightDecay: group.number('weight_decay', 0) };
  });
}

function names(group: ConfigReader): readonly string[] {
  const value = group.raw('names');
  if (Array.isArray(value) && value.every((item): item is string => typeof item === 'string')) return value;
  throw group.wrong('names', 'is not a list of names');
}

export function scheduleOf(config: ConfigReader): Schedule {
  const shape = config.text('schedule', 'constant');
  if (shape !== 'cosine' && shape !== 'linear' && shape !== 'constant')
    throw config.wrong('schedule', `is '${shape}'`, 'known are cosine, linear and constant');
  return { shape, warmup: { steps: config.number('warmup', 0) } };
}

/** What begins with the file's values: its parameters. Averages begin with them too. */
export function statesFrom(source: ParamSource, file: GoldenFile): InitialStates {
  return { has: (name) => file.has(name) && !name.includes('input.'), read: (path, shape) => source.read(path, shape) };
}

/** One micro-batch: its inputs, and how many targets it has. */
export interface MicroBatch {
  readonly inputs: ReadonlyMap<string, Numbers>;
  readonly targets: number;
}

export interface Course {
  readonly graphs: TrainGraphs;
  readonly groups: readonly ResolvedGroup[];
  readonly schedule: Schedule;
  readonly total: number;
  /** The micro-batches of each step. */
  readonly steps: readonly (readonly MicroBatch[])[];
  /** Told after each step (from 1). */
  readonly after?: ((step: number, state: Together['state']) => Promise<Outputs>) | undefined;
}

/** Runs all steps; gives `loss`, `grad_norm`, `lr`, and what `after` read. */
export async function runCourse(course: Course, { steps: runs, state }: Together): Promise<Outputs> {
  const [step, accumulate] = runs;
  if (step === undefined) throw new OpabiniaError('no graph was opened', { op: 'verify' });
  const outputs = new Map<string, ArrayLike<number>>();
  const [losses, norms, rates]: [number[], number[], number[]] = [[], [], []];
  for (const [s, batches] of course.steps.entries()) {
    const targets = batches.reduce((sum, batch) => sum + batch.targets, 0);
    const factor = rateFactor(course.schedule, s, course.total);
    const lr = course.groups.map((group) => group.lr * factor);
    for (const [m, { inputs }] of batches.entries()) {
      const isLast = m === batches.length - 1;
      const run = isLast ? step : accumulate;
      if (run === undefined) throw new OpabiniaError('several micro-batches and one graph', { op: 'verify' });
      const given = new Map<string, Numbers>([
        ...inputs,
        ['targets', [targets]],
        ...(isLast ? [['rates', lr] as const] : []),
      ]);
      const metrics = (await run(given, new Map())).get('metrics');
      if (!isLast) continue;
      losses.push(metrics?.[metricNames.indexOf('loss')] ?? NaN);
      norms.push(metrics?.[metricNames.indexOf('gradientNorm')] ?? NaN);
    }
    rates.push(...lr);
    for (const [name, values] of (await course.after?.(s + 1, state)) ?? []) outputs.set(name, values);
  }
  return outputs.set('loss', losses).set('grad_norm', norms).set('lr', rates);
}

/** Bounds that files state in words: loss, norm and rates are the same for all. */
export function courseTolerance(
  groups: readonly ResolvedGroup[],
  loss: number,
  norm: number,
): (output: string) => Tolerance | undefined {
  return (output) => {
    switch (output) {
      case 'loss':
        return { absolute: loss, relative: 0 };
      case 'grad_norm':
        return { absolute: 0, relative: norm };
      case 'lr':
        return { absolute: 1e-5 * Math.min(...groups.map((group) => group.lr)), relative: 0 };
      default:
        return undefined;
    }
  };
}

export function stepName(step: number): string {
  return `step_${String(step).padStart(2, '0')}`;
}
