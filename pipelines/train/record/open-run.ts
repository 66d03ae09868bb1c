// The folder of a run that begins or goes on, and whether it may. Nothing is written before its first step.
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { nearestNames, OpabiniaError } from '../../../dsl/error.ts';
import type { Device } from '../../../runtime/device/device.ts';
import { stepsOf, type Recipe, type Stage } from '../recipe/recipe.ts';
import { newestCheckpoint, type OpenedCheckpoint } from '../run/checkpoints.ts';
import { heldBy, RunFolder } from '../run/run-folder.ts';
import { changesOf, printChange, refuseLength, refuseOthers } from './recipe-changes.ts';
import { readRecord, recordOf } from './run-record.ts';

export interface OpenedRun {
  readonly folder: RunFolder;
  /** What it goes on from. The caller closes it. */
  readonly checkpoint: OpenedCheckpoint | undefined;
  /** Throws `OpabiniaError` where the stage at hand, of so many samples, cannot be as long as the recipe says. */
  readonly checkLength: (stage: Stage, count: number) => void;
  /** Writes the record and takes the log back to the checkpoint; a second call does nothing. For when all is checked. */
  readonly begin: () => void;
}

export interface OpenRunOptions {
  readonly root: string;
  readonly resume: boolean;
  readonly print: (line: string) => void;
}

/** Throws `OpabiniaError` for a run that is there and is not to go on, and for a recipe that is not the run's. */
export function openRun(recipe: Recipe, device: Device, { root, resume, print }: OpenRunOptions): OpenedRun {
  const goesOn = resume && heldBy(join(root, recipe.name)) !== 'nothing';
  const folder = new RunFolder(root, recipe.name, goesOn);
  const record = recordOf(recipe, device);
  const checkpoint = goesOn ? newestCheckpoint(folder.path, (text) => print(`  · ${text}`)) : undefined;
  if (checkpoint === undefined) {
    if (goesOn) print(`${folder.path} has no checkpoint that can be read: it begins anew`);
    return {
      folder,
      checkpoint,
      checkLength: () => undefined,
      begin: once(() => {
        folder.writeConfig(record);
        folder.rewind(0, 0);
      }),
    };
  }
  const { position } = checkpoint;
  try {
    const { changes: earlier = [], ...before } = readRecord(folder.path);
    refuseOthers(folder.path, changesOf(before.recipe, record.recipe), position);
    const place = `stage ${position.stage + 1}, step ${position.step}`;
    const later = changesOf(before, record).map(
      (change) => `${place}: ${printChange({ ...change, path: change.path.replace(/^recipe\./, '') })}`,
    );
    return {
      folder,
      checkpoint,
      checkLength: (stage, count) => {
        const old = before.recipe.stages[position.stage];
        if (old !== undefined) refuseLength(folder.path, stage, [stepsOf(old, count), stepsOf(stage, count)], position);
      },
      begin: once(() => {
        for (const change of later) print(`  · changed at ${change}`);
        if (later.length > 0) folder.writeConfig({ ...record, changes: [...earlier, ...later] });
        folder.rewind(position.stage, position.step);
      }),
    };
  } catch (error) {
    checkpoint.close();
    throw error;
  }
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
