// Neighbours that one thread computes together because their windows overlap: what two of them read is loaded once. A depthwise filter
// of 7 then loads 21 vectors for 8 neighbours in a row of the filter, not 112.
import type { Axis } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { indexMath, sizeIndex } from '../index/index-math.ts';
import { mentions } from '../index/index-variables.ts';
import type { IndexMap } from '../kernel/storage.ts';
import { choicesOf } from '../profile.ts';
import { count, indexVariable, type Context } from './frame.ts';

export interface Neighbours {
  /** The axis of the result along which they lie. */
  readonly axis: Axis;
  readonly length: number;
  readonly blocks: number;
  /** The summed axis that slides along it, unrolled. */
  readonly summed: { readonly name: string; readonly length: number };
}

/** Along the last axis that no vector takes, where its size is a multiple of their number and a short summed axis slides along it. */
export function findNeighbours(
  outer: readonly Axis[],
  inner: readonly Axis[],
  wide: boolean,
  operands: readonly Node[],
  context: Context,
): Neighbours | undefined {
  const { neighbours: most, leastWork } = choicesOf(context.profile);
  if (count(outer).most * count(inner).most < leastWork / 2) return undefined;
  const axis = outer.at(wide ? -2 : -1);
  const summed = inner.at(-1);
  if (
    axis === undefined ||
    typeof axis.size !== 'number' ||
    axis.size === 0 ||
    summed === undefined ||
    typeof summed.size !== 'number'
  )
    return undefined;
  if (summed.size < 2 || summed.size > most || !operands.some((x) => slides(x, axis.name, summed.name, context)))
    return undefined;
  for (let length = most; length > 1; length /= 2) {
    if (axis.size % length === 0)
      return { axis, length, blocks: axis.size / length, summed: { name: summed.name, length: summed.size } };
  }
  return undefined;
}

/** True when, on the way to memory, a view makes one index of both axes. */
function slides(node: Node, along: string, summed: string, context: Context): boolean {
  const walk = (n: Node, index: IndexMap): boolean => {
    const [x] = n.inputs;
    if (context.place(n) !== undefined || (n.op.kind !== 'map' && n.op.kind !== 'view'))
      return [...index.values()].some((i) => mentions(i, along) && mentions(i, summed));
    if (n.op.kind === 'map') return n.inputs.some((input) => walk(input, index));
    return x !== undefined && walk(x, n.op.source(indexMath, index, n.attrs, x.type).index);
  };
  return walk(node, new Map(node.type.axes.map((axis) => [axis.name, indexVariable(axis.name, sizeIndex(axis.size))])));
}
