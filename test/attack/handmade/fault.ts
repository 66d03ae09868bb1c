// A file or a text that is wrong in one way, made by hand, and the reader that is to refuse it.

export interface Fault {
  readonly name: string;
  /** Gives it to its reader, which throws; `folder` is empty, for files. */
  readonly take: (folder: string) => unknown;
}

/** One fault for each entry. */
export function faults<T>(
  kind: string,
  all: Readonly<Record<string, T>>,
  take: (one: T, folder: string) => unknown,
): readonly Fault[] {
  return Object.entries(all).map(([name, one]) => ({ name: `${kind}: ${name}`, take: (folder) => take(one, folder) }));
}
