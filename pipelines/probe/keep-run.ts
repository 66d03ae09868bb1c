// A run that is done is kept with what it depends on: the same command does not repeat it, another one does.
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { writeFileAtomic } from '../../runtime/files/atomic-file.ts';
import type { ProbedRow, ProbedRun } from './probed.ts';
import { makeFolder } from '../../runtime/files/make-folder.ts';

/** One run, with what is the same for all of its row. */
export interface KeptRun extends Pick<ProbedRow, 'tokens' | 'parameters'> {
  readonly run: ProbedRun;
}

/** Of everything that a run depends on. */
export function keyOf(about: unknown): string {
  return createHash('sha256').update(JSON.stringify(about)).digest('hex');
}

/** From the file in `folder` where it is of the same, or made and kept, where `make` is told the key; undefined where it was told to stop. */
export async function keptRun(
  folder: string,
  about: unknown,
  make: (key: string) => Promise<KeptRun | undefined>,
): Promise<KeptRun | undefined> {
  const path = join(folder, 'judged.json');
  const key = keyOf(about);
  const before = readKept(path);
  if (before?.key === key) return before.kept;
  const made = await make(key);
  if (made === undefined) return undefined;
  makeFolder(folder);
  writeFileAtomic(path, JSON.stringify({ key, kept: made }), { op: 'probe' });
  return made;
}

function readKept(path: string): { readonly key: string; readonly kept: KeptRun } | undefined {
  if (!existsSync(path)) return undefined;
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as { readonly key: string; readonly kept: KeptRun };
  } catch {
    // Cut off while it was written: it is made again.
    return undefined;
  }
}

/** A name as files may have it, told apart from others that look alike then. */
export function fileName(name: string): string {
  const plain = name.replaceAll(/[^A-Za-z0-9.=+-]+/g, '_').slice(-80);
  return plain === name ? plain : `${plain}-${createHash('sha256').update(name).digest('hex').slice(0, 8)}`;
}
