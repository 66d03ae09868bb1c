// A file that a command is to write, looked at before the work: hours are not lost to a name that cannot be written, or must not be.
import { OpabiniaError } from '../dsl/error.ts';
import { AtomicFile } from '../runtime/files/atomic-file.ts';

interface OutputFile {
  readonly op: string;
  /** What its name may end in: a source or a model that the command reads has another ending. */
  readonly endings: readonly string[];
  readonly inputs?: readonly string[] | undefined;
}

/** Throws `OpabiniaError` for another ending, a link, an input, a folder that is missing or may not be written to. Nothing stays there. */
export function checkOutput(option: string, path: string | undefined, { op, endings, inputs }: OutputFile): void {
  if (path === undefined) return;
  if (!endings.some((ending) => path.toLowerCase().endsWith(ending)))
    throw new OpabiniaError(`${option} is '${path}'`, { op, advice: `a file that ends in ${endings.join(' or ')}` });
  new AtomicFile(path, { op, inputs }).abort();
}
