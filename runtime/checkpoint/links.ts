// Links in a model's directory: they may lead to files of the same repository and to nothing else of the machine.
import { realpathSync } from 'node:fs';
import { join, sep } from 'node:path';

/** Where a snapshot of the Hugging Face cache really lies: `models--OWNER--NAME/snapshots/COMMIT`. */
const snapshot = /^(.*[/\\]models--[^/\\]+)[/\\]snapshots[/\\][0-9a-f]{40}$/;

/**
 * True when the file, links followed, is neither in its directory nor, where that is a snapshot of the Hugging Face cache, among the
 * `blobs` of its repository. A directory that only looks like a snapshot through a link is none.
 */
export function leadsOut(directory: string, path: string): boolean {
  const [real, root] = [realpathSync(path), realpathSync(directory)];
  const repository = snapshot.exec(root)?.[1];
  const allowed = repository === undefined ? [root] : [root, join(repository, 'blobs')];
  return !allowed.some((place) => real.startsWith(place + sep));
}
