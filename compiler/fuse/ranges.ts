// Views that show a run of elements in their order: what they show is a range of the value beneath, at no more cost than another address.
import type { Axis } from '../../dsl/axis/axis.ts';
import { dtypeBytes } from '../../dsl/graph/elements.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { add, alwaysHolds, atomIndex, indexMath, scale, sizeIndex, variable, type Index } from '../index/index-math.ts';
import { flatten } from '../kernel/storage.ts';

export interface Range {
  readonly of: Node;
  /** The element of `of`, row-major, at which the range begins. */
  readonly start: number;
}

/** The lowest value beneath one view after the other of which this node is a range; the node itself where it is not such a view. */
export function rangeUnder(node: Node, stop: (node: Node) => boolean = () => false): Range {
  let range: Range = { of: node, start: 0 };
  const own = new Map(node.type.axes.map((axis): [string, Index] => [axis.name, along(axis)]));
  const flat = flatten(node.type.axes, own);
  let index: ReadonlyMap<string, Index> = own;
  for (let at = node; at.op.kind === 'view' && !stop(at);) {
    const [x] = at.inputs;
    if (x === undefined) break;
    const source = at.op.source(indexMath, index, at.attrs, x.type);
    if (!source.guards.every(alwaysHolds)) break;
    const moved = add(flatten(x.type.axes, source.index), scale(flat, -1));
    [at, index] = [x, source.index];
    if (moved.terms.length === 0) range = { of: x, start: moved.constant };
  }
  return range;
}

function along({ name, size }: Axis): Index {
  const end = sizeIndex(size);
  return atomIndex(variable(`@${name}`, Math.max(0, end.most - 1)));
}

/** Offsets of bindings are multiples of this on every device. */
const bindingAlignment = 256;

/** Whether a range that begins at this element can be bound by itself. */
export function isBindable(start: number, dtype: Node['type']['dtype']): boolean {
  return (start * dtypeBytes(dtype)) % bindingAlignment === 0;
}
