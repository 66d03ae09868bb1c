// Several checkpoints as one source of parameters: a language model's, and below a path of its own that of each vision tower.
import { OpabiniaError } from '../../dsl/error.ts';
import type { DType, ParamSource } from '../../dsl/index.ts';
import type { ParameterValues } from '../program/upload.ts';
import type { BlockRows } from './packed/block-rows.ts';
import { requireFields, requireList } from '../../dsl/graph/required.ts';

export type Source = ParamSource &
  ParameterValues & {
    /** The blocks of a matrix that is stored quantized. */
    readonly blocks?: ((path: string) => BlockRows | undefined) | undefined;
  };

export interface PlacedSource {
  /** Before every path of the source; empty for one that has the root. */
  readonly root: string;
  readonly source: Source;
}

/**
 * Several sources of parameters as one, each below its own root. Throws `OpabiniaError` when dtypes differ; reading a path that nobody has, too.
 * @example const params = joinSources([{ root: 'vision', source: tower }, { root: '', source: language }])
 */
export function joinSources(parts: readonly [PlacedSource, ...PlacedSource[]]): Source {
  const call = "joinSources([{ root: 'vision', source: tower }, { root: '', source: language }])";
  requireList('joinSources', parts, 'the sources', call);
  for (const part of parts) requireFields('joinSources', part, { root: 'string', source: 'object' }, call, 'a part');
  requireFields('joinSources', parts[0], {}, call, 'the first part');
  const { dtype } = parts[0].source;
  const other = parts.find((part) => part.source.dtype !== dtype);
  if (other !== undefined)
    throw new OpabiniaError(`'${other.root}' is opened as ${other.source.dtype}, and '${parts[0].root}' as ${dtype}`, {
      op: 'joinSources',
      advice: 'open all checkpoints with one dtype',
    });
  // The longest root first: a checkpoint at the root has every path that no other has.
  const sorted = [...parts].sort((a, b) => b.root.length - a.root.length);
  const find = (path: string): { readonly source: Source; readonly path: string } => {
    const part = sorted.find(({ root }) => root === '' || path.startsWith(`${root}.`));
    if (part === undefined)
      throw new OpabiniaError(`no checkpoint has the path '${path}'`, {
        op: 'joinSources',
        path,
        advice: `the roots are ${parts.map(({ root }) => `'${root}'`).join(', ')}`,
      });
    return { source: part.source, path: part.root === '' ? path : path.slice(part.root.length + 1) };
  };
  return {
    dtype,
    shape: (path) => {
      const own = find(path);
      return own.source.shape(own.path);
    },
    names: () =>
      parts.flatMap(({ root, source }) =>
        Array.from(source.names() ?? [], (name) => (root === '' ? name : `${root}.${name}`)),
      ),
    storedAs: (path) => {
      const own = find(path);
      return own.source.storedAs?.(own.path);
    },
    blocks: (path) => {
      const own = find(path);
      return own.source.blocks?.(own.path);
    },
    read: (path, shape) => {
      const own = find(path);
      return own.source.read(own.path, shape);
    },
    part: (path, shape, start, count) => {
      const own = find(path);
      return (
        own.source.part?.(own.path, shape, start, count) ??
        own.source.read(own.path, shape).subarray(start, start + count)
      );
    },
    storedPart: (path: string, shape: readonly number[], wanted: DType, start: number, count: number) => {
      const own = find(path);
      return own.source.storedPart?.(own.path, shape, wanted, start, count);
    },
  };
}
