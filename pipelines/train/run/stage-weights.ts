// What a stage has learned, kept when its checkpoints go: the next stage begins with it.
import { copyFileSync, existsSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { OpabiniaError } from '../../../dsl/error.ts';
import { systemError } from '../../../runtime/files/system-error.ts';
import { listCheckpoints } from './checkpoints.ts';

/** Where the weights of a stage that has ended are. */
export function stageFile(folder: string, stage: number): string {
  return join(folder, `stage-${stage + 1}.safetensors`);
}

/** The files of the stages before this one. Throws `OpabiniaError` when one is missing. */
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
    copyFileSync(join(last.path, 'model.safetensors'), partial);
    renameSync(partial, path);
  } catch (cause) {
    rmSync(partial, { force: true });
    throw systemError(cause, 'save') ?? cause;
  }
}

/** Deletes what a stage and those behind it had learned when they ended: the stage goes on, and its checkpoints know more. */
export function dropStageWeights(folder: string, stage: number): void {
  for (let later = stage; existsSync(stageFile(folder, later)); later++) rmSync(stageFile(folder, later));
}
