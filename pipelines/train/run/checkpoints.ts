// Checkpoints of a run: a folder each, whole or not there, the last two kept, every file verified before it is read again.
import { existsSync, readdirSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { nearestNames, OpabiniaError } from '../../../dsl/error.ts';
import { openCheckpoint, type Checkpoint } from '../../../runtime/checkpoint/checkpoint.ts';
import { streamSafetensors, type TensorToStream } from '../../../runtime/checkpoint/safetensors-stream.ts';
import { writeFileAtomic } from '../../../runtime/files/atomic-file.ts';
import { contentKey } from '../../../runtime/files/content-key.ts';
import type { InitialStates } from '../../../runtime/program/upload.ts';
import { makeFolder } from '../../../runtime/files/make-folder.ts';

/** A state of the program: what is saved. */
export interface SavedState {
  readonly name: string;
  readonly shape: readonly number[];
  /** Of the weights, under the reference's names; otherwise of the optimizer. */
  readonly weight: boolean;
  readonly values: () => Promise<ArrayLike<number>>;
}

/** Where a run stands. */
export interface Position {
  readonly stage: number;
  /** Steps of the stage that are done, and samples that were taken. */
  readonly step: number;
  readonly samples: number;
  readonly tokens: number;
}

const [weightsFile, optimizerFile, stateFile] = ['model.safetensors', 'optimizer.safetensors', 'run_state.json'];
const kept = 2;

const stateSchema = z.object({
  position: z.object({ stage: z.int(), step: z.int(), samples: z.int(), tokens: z.number() }),
  sha256: z.record(z.string(), z.string()),
});

/** `checkpoint-{stage}-{step}` folders of a run, the newest first. */
export function listCheckpoints(
  folder: string,
): readonly { readonly path: string; readonly stage: number; readonly step: number }[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .flatMap((name) => {
      const found = /^checkpoint-(\d+)-(\d+)$/.exec(name);
      return found === null ? [] : [{ path: join(folder, name), stage: Number(found[1]), step: Number(found[2]) }];
    })
    .sort((a, b) => b.stage - a.stage || b.step - a.step);
}

/**
 * Saves under a name that nobody reads, and renames when all is on the disk; then older ones go. Throws `OpabiniaError` when the disk is
 * full, and for a value that is not finite: the checkpoints before it are untouched.
 */
export async function saveCheckpoint(
  folder: string,
  position: Position,
  states: readonly SavedState[],
  files: Readonly<Record<string, string>>,
): Promise<string> {
  const name = `checkpoint-${position.stage}-${position.step}`;
  const [path, partial] = [join(folder, name), join(folder, `.${name}.partial`)];
  rmSync(partial, { recursive: true, force: true });
  try {
    makeFolder(partial);
    const tensors = (weight: boolean): readonly TensorToStream[] =>
      states
        .filter((state) => state.weight === weight)
        .map((state) => ({
          name: state.name,
          dtype: 'F32',
          shape: state.shape,
          values: async () => finite(state.name, await state.values(), position),
        }));
    await streamSafetensors(join(partial, weightsFile), tensors(true), { format: 'pt' }, { op: 'save' });
    await streamSafetensors(join(partial, optimizerFile), tensors(false), { format: 'pt' }, { op: 'save' });
    for (const [file, content] of Object.entries(files)) writeFileAtomic(join(partial, file), content, { op: 'save' });
    const sha256 = Object.fromEntries(
      [weightsFile, optimizerFile].map((file) => [file, contentKey([], [join(partial, file)])]),
    );
    writeFileAtomic(join(partial, stateFile), `${JSON.stringify({ position, sha256 }, null, 2)}\n`, { op: 'save' });
    rmSync(path, { recursive: true, force: true });
    renameSync(partial, path);
  } catch (error) {
    rmSync(partial, { recursive: true, force: true });
    throw error;
  }
  for (const old of listCheckpoints(folder).slice(kept)) rmSync(old.path, { recursive: true, force: true });
  return path;
}

/** Nothing comes back from ∞ and NaN; the checkpoints before are worth more. */
function finite(name: string, values: ArrayLike<number>, { step }: Position): ArrayLike<number> {
  for (let i = 0; i < values.length; i++)
    if (!Number.isFinite(values[i]))
      throw new OpabiniaError(`after step ${step} '${name}' holds ${values[i]} at element ${i}, and is not saved`, {
        op: 'save',
        path: name,
        advice: 'lower the learning rate or clip; checkpoints before this one are as they were',
      });
  return values;
}

/** What a program begins with when a run goes on. */
export interface OpenedCheckpoint extends InitialStates {
  readonly path: string;
  readonly position: Position;
  readonly names: readonly string[];
  readonly shape: (name: string) => readonly number[] | undefined;
  readonly close: () => void;
}

function damaged(path: string, what: string, cause?: unknown): OpabiniaError {
  return new OpabiniaError(`${path} ${what}`, {
    op: 'checkpoint',
    cause,
    advice: 'the one before it is taken, where it is whole',
  });
}

function stateOf(path: string): z.infer<typeof stateSchema> {
  try {
    return stateSchema.parse(JSON.parse(readFileSync(join(path, stateFile), 'utf8')));
  } catch (cause) {
    throw damaged(path, `has no ${stateFile} that can be read`, cause);
  }
}

/** Where a checkpoint stands. Throws `OpabiniaError` for one of whose files one is missing or not what was saved. */
function checkedPosition(path: string, files: readonly string[]): Position {
  const state = stateOf(path);
  for (const file of files)
    if (!existsSync(join(path, file)) || contentKey([], [join(path, file)]) !== state.sha256[file])
      throw damaged(path, `is damaged: ${file} is not what was saved`);
  return state.position;
}

/** Throws `OpabiniaError` for a checkpoint with a file missing or changed. */
export function openRunCheckpoint(path: string): OpenedCheckpoint {
  const position = checkedPosition(path, [weightsFile, optimizerFile]);
  const opened: Checkpoint[] = [];
  try {
    for (const file of [weightsFile, optimizerFile]) opened.push(openCheckpoint(join(path, file)));
  } catch (error) {
    for (const checkpoint of opened) checkpoint.close();
    throw error;
  }
  const owner = (name: string): Checkpoint | undefined => opened.find((checkpoint) => checkpoint.stored.has(name));
  return {
    path,
    position,
    names: opened.flatMap((checkpoint) => [...checkpoint.stored.keys()]),
    shape: (name) => owner(name)?.stored.get(name)?.shape,
    has: (name) => owner(name) !== undefined,
    read: (name, shape) => owner(name)?.read(name, shape) ?? new Float32Array(0),
    part: (name, shape, start, count) => owner(name)?.part(name, shape, start, count) ?? new Float32Array(0),
    close: () => opened.forEach((checkpoint) => checkpoint.close()),
  };
}

/** The newest checkpoint that is whole; damaged ones are told of and passed over. */
export function newestCheckpoint(folder: string, note: (text: string) => void): OpenedCheckpoint | undefined {
  return firstWhole(listCheckpoints(folder), openRunCheckpoint, note);
}

/** The weights that a stage had at its newest checkpoint that is whole; damaged ones are told of and passed over. */
export function newestWeights(folder: string, stage: number, note: (text: string) => void): string | undefined {
  return newestFile(weightsFile, { folder, stage, note });
}

/** The same of the file in which a stage keeps moments and moving averages. */
export function newestOptimizer(folder: string, stage: number, note: (text: string) => void): string | undefined {
  return newestFile(optimizerFile, { folder, stage, note });
}

function newestFile(
  file: string,
  { folder, stage, note }: { readonly folder: string; readonly stage: number; readonly note: (text: string) => void },
): string | undefined {
  const own = listCheckpoints(folder).filter((checkpoint) => checkpoint.stage === stage);
  const found = (path: string): string => {
    checkedPosition(path, [file]);
    return join(path, file);
  };
  return firstWhole(own, found, note);
}

/** The weights of a checkpoint, and the SHA-256 that they had when they were saved. Throws `OpabiniaError` where nothing says it. */
export function savedWeights(checkpoint: string): { readonly path: string; readonly sha256: string } {
  const sha256 = stateOf(checkpoint).sha256[weightsFile];
  if (sha256 === undefined) throw damaged(checkpoint, `does not say what ${weightsFile} was`);
  return { path: join(checkpoint, weightsFile), sha256 };
}

function firstWhole<T>(
  checkpoints: ReturnType<typeof listCheckpoints>,
  open: (path: string) => T,
  note: (text: string) => void,
): T | undefined {
  for (const { path } of checkpoints) {
    try {
      return open(path);
    } catch (error) {
      if (!(error instanceof OpabiniaError)) throw error;
      note(error.message);
    }
  }
  return undefined;
}

/**
 * Deletes the checkpoints behind a position, whose steps are taken again, and what a save that was killed has left. Those that stay are then
 * the newest, for the next save to keep and for whoever looks for the last.
 */
export function dropCheckpointsBehind(folder: string, { stage, step }: Pick<Position, 'stage' | 'step'>): void {
  for (const later of listCheckpoints(folder))
    if (later.stage > stage || (later.stage === stage && later.step > step))
      rmSync(later.path, { recursive: true, force: true });
  if (!existsSync(folder)) return;
  for (const name of readdirSync(folder))
    if (name.endsWith('.partial')) rmSync(join(folder, name), { recursive: true, force: true });
}

/** Throws `OpabiniaError` where a checkpoint is of another model, or its optimizer's state of another optimizer or other groups. */
export function checkStates(checkpoint: OpenedCheckpoint, states: readonly Omit<SavedState, 'values'>[]): void {
  const refuse = (what: string, advice: string) =>
    new OpabiniaError(`${checkpoint.path} ${what}`, { op: 'resume', advice });
  for (const { name, shape, weight } of states) {
    const stored = checkpoint.shape(name);
    if (stored === undefined)
      throw weight
        ? refuse(
            `has no weights '${name}': it is of another model, or other parameters learned`,
            near(name, checkpoint),
          )
        : refuse(
            `has no state '${name}': its optimizer is another`,
            'take the optimizer and the groups of the run, or begin a new one',
          );
    if (stored.join() !== shape.join())
      throw refuse(
        `holds '${name}' of shape [${stored.join(' ')}], and the model's is [${shape.join(' ')}]`,
        'it is of another model: begin a new run',
      );
  }
  const known = new Set(states.map((state) => state.name));
  const stray = checkpoint.names.find((name) => !known.has(name));
  if (stray !== undefined)
    throw refuse(
      `holds '${stray}', which this run has not`,
      'its optimizer, its groups or its model are others: begin a new run',
    );
}

function near(name: string, checkpoint: OpenedCheckpoint): string {
  return `the nearest name in it is '${nearestNames(name, checkpoint.names, 1)[0] ?? 'none'}'`;
}
