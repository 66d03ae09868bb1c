// What a stage has learned, kept when its checkpoints go: the next stage begins with it.
import { copyFileSync, existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { OpabiniaError } from '../../../dsl/error.ts';
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

/** Copies the weights of the last checkpoint of a stage beside the checkpoints. */
export async function writeStageWeights(folder: string, stage: number): Promise<void> {
  const last = listCheckpoints(folder).find((checkpoint) => checkpoint.stage === stage);
  if (last === undefined) return;
  const path = stageFile(folder, stage);
  copyFileSync(join(last.path, 'model.safetensors'), `${path}.partial`);
  renameSync(`${path}.partial`, path);
}
