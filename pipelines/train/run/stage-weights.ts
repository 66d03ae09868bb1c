// What a stage has learned, kept when its checkpoints go: the next stage begins with it.
import { copyFileSync, existsSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { OpabiniaError } from '../../../dsl/error.ts';
import { writeFileAtomic } from '../../../runtime/files/atomic-file.ts';
import { contentKey } from '../../../runtime/files/content-key.ts';
import { systemError } from '../../../runtime/files/system-error.ts';
import { listCheckpoints, savedWeights } from './checkpoints.ts';

/** Where the weights of a stage that has ended are. */
export function stageFile(folder: string, stage: number): string {
  return join(folder, `stage-${stage + 1}.safetensors`);
}

/** Its SHA-256 beside it, as `sha256sum --check` reads it: bits that rot would be learned from without a word. */
const sumFile = (path: string): string => `${path}.sha256`;

/** Throws `OpabiniaError` for the weights of a stage that are not what was written. Those of earlier versions have no sum beside them. */
export function checkStageWeights(path: string): void {
  if (!existsSync(sumFile(path))) return;
  const [wanted = ''] = readFileSync(sumFile(path), 'utf8').split(' ', 1);
  if (contentKey([], [path]) !== wanted)
    throw new OpabiniaError(`${path} is damaged: it is not what was saved`, {
      op: 'train',
      advice: 'bring it back from a copy, or run the recipe from its first stage under another name: --set name=…',
    });
}

/** The files of the stages before this one. Throws `OpabiniaError` when one is missing or damaged. */
export function stageWeights(folder: string, before: number): readonly string[] {
  return Array.from({ length: before }, (_, stage) => {
    const path = stageFile(folder, stage);
    if (!existsSync(path))
      throw new OpabiniaError(
        `${path} is missing: stage ${before + 1} begins with what stage ${stage + 1} has learned`,
        {
          op: 'train',
          advice: 'run the recipe from its first stage',
        },
      );
    checkStageWeights(path);
    return path;
  });
}

/**
 * Copies the weights of the last checkpoint of a stage beside the checkpoints. Throws `OpabiniaError` when the disk is full; nothing of the
 * copy stays then.
 */
export async function writeStageWeights(folder: string, stage: number): Promise<void> {
  const last = listCheckpoints(folder).find((checkpoint) => checkpoint.stage === stage);
  if (last === undefined) return;
  const path = stageFile(folder, stage);
  const partial = `${path}.partial`;
  try {
    const sum = savedWeights(last.path);
    copyFileSync(sum.path, partial);
    // First the sum: one without weights means nothing, weights without one would go unchecked.
    writeFileAtomic(sumFile(path), `${sum.sha256}  ${basename(path)}\n`, { op: 'save' });
    renameSync(partial, path);
  } catch (cause) {
    rmSync(partial, { force: true });
    throw systemError(cause, 'save') ?? cause;
  }
}

/** Deletes what a stage and those behind it had learned when they ended: the stage goes on, and its checkpoints know more. */
export function dropStageWeights(folder: string, stage: number): void {
  for (let later = stage; existsSync(stageFile(folder, later)); later++)
    for (const path of [stageFile(folder, later), sumFile(stageFile(folder, later))]) rmSync(path, { force: true });
}
