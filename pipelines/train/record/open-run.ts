// The folder of a run that begins or goes on, and whether it may. Nothing is written before its first step.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { nearestNames, OpabiniaError } from '../../../dsl/error.ts';
import type { Device } from '../../../runtime/device/device.ts';
import { takeLock } from '../../../runtime/files/lock-file.ts';
import type { OpenData } from '../data/open-data.ts';
import type { ModelDigest } from '../../model-identity.ts';
import { stepsOf, type Recipe, type Stage } from '../recipe/recipe.ts';
import { listCheckpoints, newestCheckpoint, type OpenedCheckpoint } from '../run/checkpoints.ts';
import { heldBy, RunFolder } from '../run/run-folder.ts';
import {
  changesOf,
  printChange,
  refuseContents,
  refuseLength,
  refuseModel,
  refuseOthers,
  refusePictures,
  refuseSamples,
} from './recipe-changes.ts';
import { pictureDigest } from './picture-digest.ts';
import { readRecord, recordOf, type RunRecord } from './run-record.ts';
import { makeFolder } from '../../../runtime/files/make-folder.ts';

/** The data of a stage, and that of its evaluation. */
export interface StageSets {
  readonly stage: Stage;
  readonly data: OpenData;
  readonly held: OpenData | undefined;
}

export interface OpenedRun {
  readonly folder: RunFolder;
  /** What it goes on from. The caller closes it. */
  readonly checkpoint: OpenedCheckpoint | undefined;
  /**
   * The data of the stages from the one at hand on. Throws `OpabiniaError` where it had another number of samples, or others, or other
   * pictures, or cannot be as long as the recipe says.
   */
  readonly checkData: (sets: readonly StageSets[]) => void;
  /** The model as each stage opens it. Throws `OpabiniaError` where it is another than the run began with. */
  readonly checkModel: (directory: string, digest: ModelDigest) => void;
  /** Writes the record and takes the log back to the checkpoint; a second call does nothing. For when all is checked. */
  readonly begin: () => void;
  /** Instead of `begin` where nothing is left to train: writes what the recipe now says otherwise. */
  readonly conclude: () => void;
  /** No other process trains in the folder from its beginning to this. */
  readonly close: () => void;
}

export interface OpenRunOptions {
  readonly root: string;
  readonly resume: boolean;
  readonly print: (line: string) => void;
}

/**
 * Throws `OpabiniaError` for a run that is there and is not to go on, for one that another process trains, and for a recipe that is not the
 * run's.
 */
export function openRun(recipe: Recipe, device: Device, options: OpenRunOptions): OpenedRun {
  const folder = join(options.root, recipe.name);
  const lock = runLock(folder);
  try {
    // A folder that is not there is made when the first step is about to be taken, and locked then.
    if (existsSync(folder)) lock.take();
    return openLocked(recipe, device, options, lock);
  } catch (error) {
    lock.release();
    throw error;
  }
}

interface RunLock {
  /** A second call does nothing. */
  readonly take: () => void;
  readonly release: () => void;
}

function runLock(folder: string): RunLock {
  const path = join(folder, 'run.lock');
  let release: (() => void) | undefined;
  return {
    take: () => {
      makeFolder(folder);
      release ??= takeLock(
        path,
        (owner) =>
          new OpabiniaError(`${folder} is being trained by process ${owner}`, {
            op: 'train',
            advice: `give another name: --set name=…; or wait for it, or delete ${path} where there is no such process`,
          }),
      );
    },
    release: () => release?.(),
  };
}

function openLocked(recipe: Recipe, device: Device, { root, resume, print }: OpenRunOptions, lock: RunLock): OpenedRun {
  const goesOn = resume && heldBy(join(root, recipe.name)) !== 'nothing';
  const folder = new RunFolder(root, recipe.name, goesOn);
  const record = recordOf(recipe, device);
  const checkpoint = goesOn ? newestCheckpoint(folder.path, (text) => print(`  · ${text}`)) : undefined;
  if (checkpoint === undefined) {
    const damaged = goesOn ? listCheckpoints(folder.path).length : 0;
    // Hours were in them: to begin anew is for a person to say.
    if (damaged > 0)
      throw new OpabiniaError(`none of the ${damaged} checkpoints of ${folder.path} can be read`, {
        op: 'train',
        advice: 'bring one back from a copy; or begin a run of its own, without --resume: --set name=…',
      });
    if (goesOn) print(`${folder.path} has no checkpoint that can be read: it begins anew`);
    let sets: readonly StageSets[] = [];
    const model = sameModel(folder.path, undefined);
    return {
      folder,
      checkpoint,
      checkData: (all) => void (sets = all),
      checkModel: model.check,
      begin: once(() => {
        lock.take();
        folder.refuseRun(goesOn);
        const samples = sets.map(({ data }) => data.count);
        folder.writeConfig({ ...record, samples, ...contentsOf(sets), model: model.digest() });
        folder.rewind(0, 0);
      }),
      conclude: () => undefined,
      close: lock.release,
    };
  }
  const { position } = checkpoint;
  const { stage, step } = position;
  try {
    const { changes: earlier = [], ...before } = readRecord(folder.path);
    refuseOthers(folder.path, changesOf(before.recipe, record.recipe), position);
    const { samples, data, pictures, evaluation } = before;
    const connectors = before.connectors === undefined ? undefined : record.connectors;
    let now: RunRecord = { ...record, connectors, samples, data, pictures, evaluation, model: before.model };
    const model = sameModel(folder.path, before.model);
    const write = (after: RunRecord): void => {
      const later = changesOf(before, after).map(
        (change) =>
          `stage ${stage + 1}, step ${step}: ${printChange({ ...change, path: change.path.replace(/^recipe\./, '') })}`,
      );
      for (const change of later) print(`  · changed at ${change}`);
      if (later.length > 0) folder.writeConfig({ ...after, changes: [...earlier, ...later] });
    };
    return {
      folder,
      checkpoint,
      checkData: (sets) => {
        const count = sets[0]?.data.count ?? 0;
        refuseSamples(folder.path, [samples?.[stage] ?? count, count], position);
        const contents = contentsOf(sets);
        const [said = '', shown = ''] = [contents.data[0], contents.pictures[0]];
        refuseContents(folder.path, [data?.[stage] ?? said, said], position);
        refusePictures(folder.path, [pictures?.[stage] ?? shown, shown], position);
        const [old, young] = [before.recipe.stages[stage], recipe.stages[stage]];
        if (old !== undefined && young !== undefined)
          refuseLength(folder.path, young, [stepsOf(old, count), stepsOf(young, count)], position);
        // A record from before there were these gets none: nobody knows those of stages that have ended.
        const after = <T>(all: readonly T[] | undefined, later: readonly T[]): T[] | undefined =>
          all === undefined ? undefined : [...all.slice(0, stage), ...later];
        const counts = sets.map((set) => set.data.count);
        now = {
          ...now,
          samples: after(samples, counts),
          data: after(data, contents.data),
          pictures: after(pictures, contents.pictures),
          evaluation: after(evaluation, contents.evaluation),
        };
      },
      checkModel: model.check,
      begin: once(() => {
        write(now);
        folder.rewind(stage, step);
      }),
      // Code and device trained nothing here.
      conclude: () => {
        const { recipe: last, ...rest } = now;
        const sets = { samples: rest.samples, data: rest.data, pictures: rest.pictures, evaluation: rest.evaluation };
        write({ ...before, recipe: last, ...sets });
      },
      close: lock.release,
    };
  } catch (error) {
    checkpoint.close();
    throw error;
  }
}

/** What the data of stages says and shows. */
function contentsOf(sets: readonly StageSets[]) {
  return {
    data: sets.map(({ data }) => data.key),
    pictures: sets.map(({ stage, data }) => pictureDigest(stage.data, data.file)),
    evaluation: sets.map(({ stage: { evaluation }, held }) =>
      evaluation === undefined || held === undefined
        ? ''
        : `${held.key} ${pictureDigest(evaluation.data, held.file)}`.trim(),
    ),
  };
}

/** Holds every model against the first: that of the record, or the one that the first stage opened. */
function sameModel(folder: string, recorded: ModelDigest | undefined) {
  let first = recorded;
  return {
    check: (directory: string, digest: ModelDigest): void => {
      refuseModel(folder, directory, [first ?? digest, digest]);
      first ??= digest;
    },
    digest: (): ModelDigest | undefined => first,
  };
}

/** Throws `OpabiniaError` where no run of this name has begun below `root`. */
export function needBegun(root: string, name: string): void {
  if (heldBy(join(root, name)) !== 'nothing') return;
  const others = existsSync(root) ? readdirSync(root).filter((other) => heldBy(join(root, other)) !== 'nothing') : [];
  throw new OpabiniaError(`there is no run ${join(root, name)} to go on with`, {
    op: 'train',
    advice: `leave --resume out, and it begins${others.length === 0 ? '' : `; the nearest runs are ${nearestNames(name, others).join(', ')}`}`,
  });
}

function once(work: () => void): () => void {
  let isDone = false;
  return () => {
    if (!isDone) work();
    isDone = true;
  };
}
