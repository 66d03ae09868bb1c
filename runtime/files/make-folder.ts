// Folders that results go into: looked at before the work, made when there is something to put there.
import { randomBytes } from 'node:crypto';
import { mkdirSync, rmdirSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { OpabiniaError } from '../../dsl/error.ts';
import { codeOf, systemAdvice } from './system-error.ts';

/**
 * Makes a folder and those above it. One by one: Node's own recursive way never comes back where a system says that there is no such
 * folder when it means that there can be none (`/proc/x` on Linux). Throws what the system says.
 */
export function makeFolder(path: string): void {
  const { missing, there } = parted(path);
  if (missing.length === 0 && !isFolder(there)) mkdirSync(there);
  for (const one of missing)
    try {
      mkdirSync(one);
    } catch (cause) {
      // Another process may have been as quick.
      if (codeOf(cause) !== 'EEXIST' || !isFolder(one)) throw cause;
    }
}

/** Throws `OpabiniaError` where there can be no such folder, or nothing can be put into it. Nothing stays there. */
export function checkFolder(path: string, op: string): void {
  const refuse = (what: string, advice: string, cause?: unknown): never => {
    throw new OpabiniaError(what, { op, advice, cause });
  };
  try {
    const { there } = parted(path);
    if (!isFolder(there))
      refuse(
        there === resolve(path) ? `${path} is a file` : `${there}, a part of ${path}, is a file`,
        'give another folder',
      );
    const trial = join(there, `.opabinia.${randomBytes(6).toString('hex')}.partial`);
    mkdirSync(trial);
    rmdirSync(trial);
  } catch (cause) {
    if (cause instanceof OpabiniaError) throw cause;
    refuse(`nothing can be written to ${path}`, systemAdvice(cause), cause);
  }
}

/** What there is of a path, and what is not there yet, the outermost first. */
function parted(path: string): { readonly there: string; readonly missing: readonly string[] } {
  const missing: string[] = [];
  let there = resolve(path);
  while (statSync(there, { throwIfNoEntry: false }) === undefined && dirname(there) !== there) {
    missing.unshift(there);
    there = dirname(there);
  }
  return { there, missing };
}

function isFolder(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
