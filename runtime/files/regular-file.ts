// Files of strangers are opened only where they are files: a pipe or a device would never end.
import { closeSync, constants, fstatSync, openSync, readSync, statSync, type Stats } from 'node:fs';
import { OpabiniaError } from '../../dsl/error.ts';
import { systemError } from './system-error.ts';

/** What is there, links followed; undefined where nothing is. Throws `OpabiniaError` where the system does not say. */
export function statOf(path: string, op: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (cause) {
    throw systemError(cause, op) ?? cause;
  }
}

/** A descriptor of a regular file, to be closed by the caller. Throws `OpabiniaError` for whatever else is there, or nothing. */
export function openRegular(path: string, op: string): number {
  let descriptor: number;
  try {
    // Without O_NONBLOCK, opening a pipe would wait for a writer.
    descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (cause) {
    throw systemError(cause, op) ?? cause;
  }
  if (fstatSync(descriptor).isFile()) return descriptor;
  closeSync(descriptor);
  throw new OpabiniaError(`${path} is not a regular file`, { op, advice: 'check the path' });
}

/** All bytes of a regular file. Throws `OpabiniaError`, also for one of more than `limit` bytes. */
export function readRegular(path: string, limit: number, op: string): Buffer {
  const descriptor = openRegular(path, op);
  try {
    const { size } = fstatSync(descriptor);
    if (size > limit)
      throw new OpabiniaError(`${path} has ${size} bytes; at most ${limit} are accepted`, {
        op,
        advice: 'it is not what its name says',
      });
    const bytes = Buffer.alloc(size);
    let done = 0;
    while (done < size) {
      const got = readSync(descriptor, bytes, done, size - done, done);
      if (got === 0) break;
      done += got;
    }
    return bytes.subarray(0, done);
  } finally {
    closeSync(descriptor);
  }
}
