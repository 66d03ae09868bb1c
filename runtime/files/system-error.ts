// What the system refuses, as errors that say what to do.
import { OpabiniaError } from '../../dsl/error.ts';

const advice: Readonly<Record<string, string>> = {
  ENOSPC: 'the disk is full: make room, and try again; what was there before is untouched',
  EDQUOT: 'the quota is used up: make room, and try again; what was there before is untouched',
  EFBIG: 'the file system takes no file of this size',
  EACCES: 'choose a place that you may read and write',
  EPERM: 'choose a place that you may read and write',
  EROFS: 'the file system is read-only: choose another folder',
  ENAMETOOLONG: 'choose a shorter name',
  EEXIST: 'something of this name is there already: choose another, or move it away',
  ENOTEMPTY: 'the folder is not empty: choose another, or move it away',
  ENOENT: 'check the path',
  ENOTDIR: 'a part of the path is a file: choose another folder',
  EISDIR: 'this is a directory: give a file in it',
  ELOOP: 'links lead in a circle: give the file itself',
  EMFILE: 'too many files are open: raise the limit (`ulimit -n`)',
  EPIPE: 'whoever reads this has closed it',
};

/** What to do about an error of the system, by its code. */
export function systemAdvice(cause: unknown): string {
  // Node says so, too, where a folder above may not be written: it has tried to make those one by one.
  if (codeOf(cause) === 'ENOENT' && cause instanceof Error && 'syscall' in cause && cause.syscall === 'mkdir')
    return 'check the path, and whether the folder above it may be written';
  return advice[codeOf(cause) ?? ''] ?? 'check the path and the disk';
}

/** `ENOENT`, … of an error that a call of the system gave; undefined for every other error. */
export function codeOf(cause: unknown): string | undefined {
  return cause instanceof Error && 'code' in cause && 'syscall' in cause ? String(cause.code) : undefined;
}

/** What people run into every day is said in words; the rest as the system has it. */
function inWords(cause: Error): string {
  if (!('path' in cause) || typeof cause.path !== 'string') return cause.message;
  if (codeOf(cause) === 'ENOENT') return `there is no ${cause.path}`;
  return codeOf(cause) === 'EEXIST' ? `${cause.path} is there already` : cause.message;
}

/** A refusal of the system as a typed error; undefined for every other error. */
export function systemError(cause: unknown, op?: string): OpabiniaError | undefined {
  if (codeOf(cause) === undefined || !(cause instanceof Error)) return undefined;
  return new OpabiniaError(inWords(cause), { op, cause, advice: systemAdvice(cause) });
}
