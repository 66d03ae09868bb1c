// A module of the user's own: a connector, a recipe, a benchmark, graphs to export.
import { relative, resolve, sep } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { OpabiniaError } from '../dsl/error.ts';

/** Its exports. Throws `OpabiniaError` that names the line where it does not load; what it throws of that kind itself stays as it is. */
export async function importOwn(path: string, op: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    return (await import(pathToFileURL(resolve(path)).href)) as Readonly<Record<string, unknown>>;
  } catch (cause) {
    if (cause instanceof OpabiniaError) throw cause;
    const what = cause instanceof Error ? cause.message : String(cause);
    throw new OpabiniaError(`${path} does not load: ${what}`, { op, cause, place: placeOf(cause) });
  }
}

/** Where it broke: Node writes `file:line` above a syntax error; else the first frame that is a file's. */
function placeOf(cause: unknown): string | undefined {
  const stack = cause instanceof Error ? (cause.stack ?? '') : '';
  const [, file, line] =
    /^((?:file:\/\/)?(?:\/|[A-Za-z]:[/\\])[^\n]*?):(\d+)(?=\n|$)/.exec(stack) ??
    /\n\s+at (?:[^\n]*\()?(file:\/\/[^\n)]*):(\d+):\d+\)?/.exec(stack) ??
    [];
  if (file === undefined || line === undefined) return undefined;
  const path = file.startsWith('file://') ? fileURLToPath(file) : file;
  const below = relative(process.cwd(), path);
  return `${below.startsWith(`..${sep}`) || below === '' ? path : below}:${line}`;
}
