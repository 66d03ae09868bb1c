// A lock between processes: a file that only one of them can make. One whose owner has died is taken over.
import { closeSync, openSync, readFileSync, rmSync, statSync, writeSync } from 'node:fs';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { OpabiniaError } from '../../dsl/error.ts';

/** Milliseconds after which a lock of another machine, whose processes cannot be asked, counts as left behind. */
const abandoned = 10 * 60_000;

/**
 * Runs `work` while no other process does so under the same lock. Waits for as long as the owner lives. Throws `OpabiniaError` when the
 * lock cannot be made, and the signal's reason when it is aborted.
 */
export async function withLock<T>(path: string, work: () => Promise<T>, signal?: AbortSignal): Promise<T> {
  for (let wait = 10; !take(path); wait = Math.min(500, 2 * wait)) {
    if (isLeftBehind(path)) rmSync(path, { force: true });
    else await sleep(wait, undefined, signal === undefined ? {} : { signal });
  }
  try {
    return await work();
  } finally {
    rmSync(path, { force: true });
  }
}

/** What this process holds by `takeLock`. */
const held = new Set<string>();

/**
 * Takes a lock that is not waited for, and gives what releases it. Throws what `busy` makes of the owner's number where a process that lives
 * holds it, and `OpabiniaError` when it cannot be made.
 */
export function takeLock(path: string, busy: (owner: string) => Error): () => void {
  const whole = resolve(path);
  if (!take(whole)) {
    const owner = ownerOf(whole);
    // A number comes again: one that is our own, of a lock that is not, was that of a process before us.
    const isOurs = owner.pid === String(process.pid) && owner.host === hostname();
    if (isOurs ? held.has(whole) : !isLeftBehind(whole)) throw busy(owner.pid);
    rmSync(whole, { force: true });
    if (!take(whole)) throw busy(ownerOf(whole).pid);
  }
  held.add(whole);
  return () => {
    held.delete(whole);
    rmSync(whole, { force: true });
  };
}

function ownerOf(path: string): { readonly pid: string; readonly host: string } {
  try {
    const [pid = '', host = ''] = readFileSync(path, 'utf8').split(' ');
    return { pid, host };
  } catch {
    // It went away meanwhile.
    return { pid: '', host: '' };
  }
}

function take(path: string): boolean {
  try {
    const descriptor = openSync(path, 'wx');
    writeSync(descriptor, `${process.pid} ${hostname()}`);
    closeSync(descriptor);
    return true;
  } catch (cause) {
    if (cause instanceof Error && 'code' in cause && cause.code === 'EEXIST') return false;
    throw new OpabiniaError(`${path} could not be made: ${cause instanceof Error ? cause.message : String(cause)}`, {
      op: 'lock',
      cause,
      advice: 'check the folder and the disk',
    });
  }
}

function isLeftBehind(path: string): boolean {
  try {
    const [pid = '', host = ''] = readFileSync(path, 'utf8').split(' ');
    const age = Date.now() - statSync(path).mtimeMs;
    // A lock that is not written yet belongs to a process that is just making it.
    if (host === '') return age > 2_000;
    return host === hostname() ? !isAlive(Number(pid)) : age > abandoned;
  } catch {
    // It went away meanwhile.
    return false;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (cause) {
    return cause instanceof Error && 'code' in cause && cause.code === 'EPERM';
  }
}
