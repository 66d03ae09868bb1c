// Several checkpoints as one source of parameters, each below a path of its own: a language model and its vision towers.
import { nearestNames, OpabiniaError } from '../dsl/error.ts';
import type { ParamSource } from '../dsl/index.ts';

export interface SourcePart {
  /** Path that the part's names stand below; '' for none. */
  readonly root: string;
  readonly source: ParamSource;
}

/** Paths are looked up in the part with the longest root that fits. All parts must have the dtype of the first. Throws `OpabiniaError`. */
export function joinSources(parts: readonly SourcePart[]): ParamSource {
  const [first] = parts;
  if (first === undefined) throw new OpabiniaError('there is no source to join', { op: 'joinSources', advice: 'give at least one' });
  const other = parts.find((part) => part.source.dtype !== first.source.dtype);
  if (other !== undefined) throw new OpabiniaError(`'${first.root}' is ${first.source.dtype} and '${other.root}' ${other.source.dtype}`, { op: 'joinSources', advice: 'open all of them with one dtype' });
  const sorted = [...parts].sort((a, b) => b.root.length - a.root.length);
  const find = (path: string) => {
    for (const { root, source } of sorted) {
      const local = root === '' ? path : path.startsWith(`${root}.`) ? path.slice(root.length + 1) : undefined;
      if (local !== undefined && source.shape(local) !== undefined) return { source, local };
    }
    return undefined;
  };
  const named = parts.map(({ root, source }) => ({ root, names: source.names() }));
  const names = named.some((part) => part.names === undefined) ? undefined : named.flatMap(({ root, names: own }) => [...own ?? []].map((name) => (root === '' ? name : `${root}.${name}`)));
  return {
    dtype: first.source.dtype,
    shape: (path) => find(path)?.source.shape(find(path)?.local ?? ''),
    names: () => names,
    read(path, shape) {
      const found = find(path);
      if (found === undefined) throw new OpabiniaError(`there is no tensor '${path}'`, { op: 'joinSources', path, advice: `the nearest names are ${nearestNames(path, names ?? []).join(', ')}` });
      return found.source.read(found.local, shape);
    },
  };
}
