// Links in a model's directory: they may lead to files of the same repository and to nothing else of the machine.
import { existsSync, realpathSync } from 'node:fs';
import { join, sep } from 'node:path';

/** True when the file, links followed, is neither in its directory nor in the `blobs` of the Hugging Face cache that the directory is in. */
export function leadsOut(directory: string, path: string): boolean {
  const real = realpathSync(path);
  const allowed = [directory, join(directory, '..', '..', 'blobs')]
    .filter((place) => existsSync(place))
    .map((place) => realpathSync(place) + sep);
  return !allowed.some((place) => real.startsWith(place));
}
