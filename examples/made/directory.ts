// A model directory made from a seed: complete or not there at all, and left as it is when it was made before.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { OpabiniaError } from '../../dsl/error.ts';
import { writeSafetensors, type TensorToStore } from '../../runtime/checkpoint/safetensors-write.ts';
import { storedBytes } from '../../runtime/checkpoint/safetensors.ts';

const marker = 'opabinia-made.json';

export interface MadeCheckpoint {
  readonly directory: string;
  readonly parameters: number;
  /** False when it was there already. */
  readonly written: boolean;
}

export interface Making {
  /** What kind of model; another one in the same place is made anew. */
  readonly what: string;
  /** Changes when the contents do, so that an older directory is made again. */
  readonly version: number;
  readonly seed: number;
  /** Writes all files; gives the number of parameters. */
  readonly write: (directory: string, seed: number) => number;
}

/**
 * Writes the directory, or leaves it when it is there already from the same making. Throws `OpabiniaError` when something else is there,
 * also beside an older making: files of a user are never deleted.
 */
export function makeDirectory(directory: string, { what, version, seed, write }: Making): MadeCheckpoint {
  const target = resolve(directory);
  const known = existsSync(join(target, marker))
    ? (JSON.parse(readFileSync(join(target, marker), 'utf8')) as {
        what?: string;
        version?: number;
        seed?: number;
        parameters?: number;
        files?: readonly string[];
      })
    : undefined;
  if (known?.what === what && known.version === version && known.seed === seed && known.parameters !== undefined)
    return { directory: target, parameters: known.parameters, written: false };
  if (known === undefined && existsSync(target))
    throw new OpabiniaError(`${target} exists, and was not made here`, {
      op: 'makeCheckpoint',
      advice: 'give a directory that does not exist',
    });
  // Beside the target, and renamed when it is complete: nobody sees half a model.
  const [beside, before] = [`${target}.${process.pid}.partial`, `${target}.${process.pid}.before`];
  mkdirSync(dirname(target), { recursive: true });
  cleanUp(target);
  try {
    mkdirSync(beside);
    const parameters = write(beside, seed);
    const files = [...filesIn(beside), marker].sort();
    writeJson(beside, marker, { what, version, seed, parameters, files });
    if (existsSync(target)) {
      const own = new Set([...files, ...(known?.files ?? [])]);
      const foreign = filesIn(target).filter((file) => !own.has(file));
      if (foreign.length > 0)
        throw new OpabiniaError(`${target} holds ${foreign.slice(0, 3).join(', ')}, which was not made here`, {
          op: 'makeCheckpoint',
          advice: 'move it away, or give another directory: the old model would be replaced',
        });
      renameSync(target, before);
    }
    renameSync(beside, target);
    return { directory: target, parameters, written: true };
  } finally {
    rmSync(beside, { recursive: true, force: true });
    if (existsSync(target)) rmSync(before, { recursive: true, force: true });
  }
}

/** Paths below a directory, of files and links. */
function filesIn(directory: string): readonly string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(directory.length + 1));
}

/** What processes that were killed have left: halves are deleted, a directory that was being replaced gets its name back. */
function cleanUp(target: string): void {
  const left = /^\.(\d+)\.(partial|before)$/;
  for (const name of readdirSync(dirname(target))) {
    const [, pid, what] = name.startsWith(basename(target))
      ? (left.exec(name.slice(basename(target).length)) ?? [])
      : [];
    if (pid === undefined || isAlive(Number(pid))) continue;
    const path = join(dirname(target), name);
    if (what === 'before' && !existsSync(target)) renameSync(path, target);
    else rmSync(path, { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  if (pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (cause) {
    return cause instanceof Error && 'code' in cause && cause.code === 'EPERM';
  }
}

export function writeJson(directory: string, name: string, json: unknown): void {
  writeFileSync(join(directory, name), `${JSON.stringify(json, null, 2)}\n`);
}

/** Two shards of about the same size, and their index. */
export function writeShards(directory: string, tensors: readonly TensorToStore[]): void {
  const bytes = (tensor: TensorToStore) => tensor.values.length * storedBytes[tensor.dtype];
  const total = tensors.reduce((sum, tensor) => sum + bytes(tensor), 0);
  const shards: TensorToStore[][] = [[], []];
  let sum = 0;
  for (const tensor of tensors) {
    shards[sum < total / 2 ? 0 : 1]?.push(tensor);
    sum += bytes(tensor);
  }
  const names = shards.map(
    (_, i) => `model-${String(i + 1).padStart(5, '0')}-of-${String(shards.length).padStart(5, '0')}.safetensors`,
  );
  shards.forEach((shard, i) => writeSafetensors(join(directory, names[i] ?? ''), shard, { format: 'pt' }));
  const map = Object.fromEntries(shards.flatMap((shard, i) => shard.map((tensor) => [tensor.name, names[i]])));
  writeJson(directory, 'model.safetensors.index.json', { metadata: { total_size: total }, weight_map: map });
}

/** The end of an example that makes a directory, when it is run by itself: `node FILE DIR SEED`. */
export function makeFromCommand(
  url: string,
  otherwise: string,
  make: (directory: string, seed: number) => MadeCheckpoint,
): void {
  if (process.argv[1] === undefined || url !== pathToFileURL(process.argv[1]).href) return;
  const [directory = otherwise, seed = '1', ...more] = process.argv.slice(2);
  try {
    if (directory.startsWith('-') || more.length > 0 || !Number.isSafeInteger(Number(seed)))
      throw new OpabiniaError('it takes a directory and a seed', {
        op: 'make',
        advice: `by default ${otherwise} and 1`,
      });
    const { parameters, written, directory: made } = make(directory, Number(seed));
    console.log(`${made}: ${(parameters / 1e6).toFixed(2)} million parameters${written ? '' : ', made before'}`);
  } catch (error) {
    console.error(error instanceof OpabiniaError ? `opabinia: ${error.message}` : error);
    process.exit(error instanceof OpabiniaError ? 1 : 2);
  }
}
