// Where values live: which nodes are written to memory, and at which element of which buffer.
import type { Axis } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import type { DType } from '../../dsl/graph/op.ts';
import { add, constantIndex, multiply, sizeIndex, type Index } from '../index/index-math.ts';

/** One stored tensor: dense and row-major over `axes`, in its own range of a buffer. */
export interface Storage {
  readonly name: string;
  readonly node: Node;
  readonly dtype: DType;
  readonly axes: readonly Axis[];
  readonly elements: Index;
  /** It is a range of another value, which begins at this element: kernels bind the range, and are the same wherever it lies. */
  readonly within?: { readonly storage: Storage; readonly start: number } | undefined;
}

/** A node's place: a storage, and where in it the node starts, for a part of a concatenation or of a state. */
export interface Placement {
  readonly storage: Storage;
  readonly starts?: IndexMap;
  /** Along this axis of the storage, which the node has not, each of its rows stands where `position`, a stored value, says; or nowhere. */
  readonly row?: { readonly axis: string; readonly position: Node };
}

export type IndexMap = ReadonlyMap<string, Index>;

export function makeStorage(name: string, node: Node): Storage {
  const { axes, dtype } = node.type;
  return { name, node, dtype, axes, elements: axes.map((a) => sizeIndex(a.size)).reduce(multiply, constantIndex(1)) };
}

/** The same bytes as another value's, from an element on. */
export function makeRange(name: string, node: Node, storage: Storage, start: number): Storage {
  return { ...makeStorage(name, node), within: { storage, start } };
}

/** What a storage lies in, or itself. */
export function wholeOf(storage: Storage): Storage {
  return storage.within?.storage ?? storage;
}

/** Where an index lies along an axis that it must have. */
export function indexAlong(index: IndexMap, name: string): Index {
  const found = index.get(name);
  if (found === undefined) throw new TypeError(`no index for axis '${name}'`);
  return found;
}

/** The flat element of an index, which has every axis. */
export function flatten(axes: readonly Axis[], index: IndexMap): Index {
  let stride = constantIndex(1);
  let flat = constantIndex(0);
  for (const axis of [...axes].reverse()) {
    flat = add(flat, multiply(indexAlong(index, axis.name), stride));
    stride = multiply(stride, sizeIndex(axis.size));
  }
  return flat;
}

/** The element of a placed node. */
export function address({ storage, starts }: Placement, index: IndexMap): Index {
  if (starts === undefined) return flatten(storage.axes, index);
  return flatten(
    storage.axes,
    new Map(
      storage.axes.map(({ name }) => [
        name,
        add(index.get(name) ?? constantIndex(0), starts.get(name) ?? constantIndex(0)),
      ]),
    ),
  );
}
