// Sizes along an axis, and what a concatenation consists of.
import { addSizes, sizeBound, type Axis, type Size } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { sizeIndex, type Index } from '../index/index-math.ts';

export function axisSize(axes: readonly Axis[], name: string): Size {
  return axes.find((a) => a.name === name)?.size ?? 1;
}

/** True for a tensor without elements: there is nothing to load. */
export function isEmpty(node: Node): boolean {
  return node.type.axes.some((axis) => sizeBound(axis.size) <= 0);
}

export interface Section {
  readonly node: Node;
  readonly start: Index;
  readonly end: Index;
  readonly size: Index;
}

/** What is concatenated, in order, with its ranges along the joined axis. */
export function sectionsAlong(nodes: readonly Node[], name: string): readonly Section[] {
  let start: Size = 0;
  return nodes.map((input) => {
    const size = axisSize(input.type.axes, name);
    const end = addSizes(start, size);
    const part = { node: input, start: sizeIndex(start), end: sizeIndex(end), size: sizeIndex(size) };
    start = end;
    return part;
  });
}
