// A folder that is there whole or not at all: made beside its name, and renamed.
import { randomBytes } from 'node:crypto';
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { systemError } from './system-error.ts';
import { makeFolder } from './make-folder.ts';

/** A name beside another one, for what has not got it yet. */
export function partialBeside(path: string): string {
  const whole = resolve(path);
  // It must not be longer than the name itself may be.
  return join(dirname(whole), `.${basename(whole).slice(0, 100)}.${randomBytes(6).toString('hex')}.partial`);
}

/**
 * What `make` puts into an empty folder gets the name `path` when it is done; an empty folder of that name is replaced. Whatever `make`
 * throws, nothing stays. Throws `OpabiniaError` where the folder cannot be made, or something is there by then.
 */
export async function newFolder<T>(path: string, op: string, make: (beside: string) => Promise<T>): Promise<T> {
  const beside = partialBeside(path);
  try {
    makeFolder(dirname(beside));
    mkdirSync(beside);
    const made = await make(beside);
    renameSync(beside, resolve(path));
    return made;
  } catch (cause) {
    throw systemError(cause, op) ?? cause;
  } finally {
    rmSync(beside, { recursive: true, force: true });
  }
}
