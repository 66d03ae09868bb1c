// A range of an open file, all of it.
import { readSync } from 'node:fs';

/** Fills `target` from a position on. Throws what `ended` makes of the byte at which the file ended. */
export function readFully(
  descriptor: number,
  target: Uint8Array,
  position: number,
  ended: (what: string, advice: string) => Error,
): void {
  // The kernel moves at most 2 GiB in one call.
  for (let done = 0; done < target.byteLength;) {
    const got = readSync(descriptor, target, done, Math.min(target.byteLength - done, 1 << 30), position + done);
    if (got === 0)
      throw ended(`ended at byte ${position + done} while it was read`, 'do not write to a checkpoint that is in use');
    done += got;
  }
}
