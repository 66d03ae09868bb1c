// The gradient of a product over windows towards what the windows show: a product over windows again.
import { axisOf, sizeBound } from '../axis/axis.ts';
import { product } from '../functions/shape.ts';
import type { Node } from '../graph/graph.ts';
import type { Attrs, DType, TensorType } from '../graph/op.ts';
import { contract } from '../ops/contract.ts';
import { mapOp } from '../ops/map/index.ts';
import { sum } from '../ops/reduce.ts';
import { broadcast, flip, pad, rearrange, slice, window } from '../ops/view.ts';
import { renamed } from '../tensor.ts';
import type { BackwardMath } from './backward-math.ts';

/** Positions that the windows of a padded operand may have for each one of the product: those at the edges multiply zeros. */
const mostPositions = 1.25;

/**
 * The transpose of a window view with these attributes, of the axes `x`, at `dy`. Where dy is Σ a·b, only `a` has the axis of positions
 * and only `b` the axis inside the window, Σ_i dy[p − i·dilation, i] is Σ a[p − i·dilation]·b[i]: windows of `a`, padded by their reach at
 * both ends, times `b` from its end. The products are the same and their order is another; what is as large as all windows is never
 * made. Undefined for any other dy, and for strides, between which zeros would be multiplied.
 */
export function windowedProduct(math: BackwardMath, dy: Node, attrs: Attrs, x: TensorType): Node | undefined {
  const { axis, into, size, stride, dilation } = window.read(attrs);
  const [outer, inner] = into;
  const [steps, whole] = [axisOf(dy.type.axes, outer)?.size ?? 0, axisOf(x.axes, axis)?.size ?? 0];
  if (stride !== 1 || sizeBound(whole) > mostPositions * sizeBound(steps)) return undefined;
  const factors = factorsOf(math, dy);
  if (factors === undefined) return undefined;
  const { pair: called, isContract } = apart(math, factors, new Map(dy.type.axes.map(({ name }) => [name, name])), [
    axis,
  ]);
  const has = (factor: Node, name: string): boolean => axisOf(factor.type.axes, name) !== undefined;
  const shown = called.find((factor) => has(factor, outer) && !has(factor, inner));
  const filter = called.find((factor) => has(factor, inner) && !has(factor, outer));
  if (shown === undefined || filter === undefined) return undefined;
  const reach = dilation * (size - 1);
  const wide = math.view(pad, shown, { axis: outer, before: reach, after: reach, value: 0 });
  const windows = math.view(window, wide, { axis: outer, into: [axis, inner], size, stride: 1, dilation });
  const turned = math.view(flip, filter, { axis: inner });
  const axes = x.axes.map((a) => a.name);
  if (isContract) return product('gradients', math.tensor(windows), math.tensor(turned), axes).node;
  const missing = turned.type.axes.filter((a) => axisOf(windows.type.axes, a.name) === undefined);
  const multiplied = math.op('mul', math.widened(windows, [...windows.type.axes, ...missing]), turned);
  return math.sum(
    multiplied,
    multiplied.type.axes.map((a) => a.name).filter((name) => !axes.includes(name)),
  );
}

/** Two tensors whose product, summed over the axes that a node has not, is the node. */
interface Factors {
  readonly pair: readonly [Node, Node];
  /** A contraction, or a map and a reduction: one filter a channel is the latter. */
  readonly isContract: boolean;
}

/** Other names and ranges of a product are those of its operands. */
function factorsOf(math: BackwardMath, node: Node): Factors | undefined {
  const [a, b] = node.inputs;
  if (node.op === contract && a !== undefined && b !== undefined) return { pair: [a, b], isContract: true };
  if (node.op === mapOp('mul') && a !== undefined && b !== undefined) return multiplied(node, a, b);
  if (a === undefined) return undefined;
  if (node.op === sum) return a.op === mapOp('mul') ? factorsOf(math, a) : undefined;
  if (node.op !== rearrange && node.op !== slice) return undefined;
  const below = factorsOf(math, a);
  if (below === undefined) return undefined;
  if (node.op === slice) {
    const { axis } = slice.read(node.attrs);
    const cut = (factor: Node): Node =>
      axisOf(factor.type.axes, axis) === undefined ? factor : math.view(slice, factor, node.attrs);
    return { ...below, pair: [cut(below.pair[0]), cut(below.pair[1])] };
  }
  const { split, merge } = rearrange.read(node.attrs);
  if (
    merge.length !== split.length ||
    split.some((parts) => parts.length !== 1) ||
    merge.some(({ parts }) => parts.length !== 1)
  )
    return undefined;
  const merged = new Map(merge.map(({ name, parts }) => [parts[0], name]));
  return apart(math, below, new Map(a.type.axes.map(({ name }, i) => [name, merged.get(split[i]?.[0]) ?? name])));
}

/** The operands of a multiplication without the axes along which they are repeated, where the other one has these. */
function multiplied(node: Node, a: Node, b: Node): Factors | undefined {
  const pair = [unrepeated(a), unrepeated(b)] as const;
  const isWhole = node.type.axes.every(({ name }) =>
    pair.some((factor) => axisOf(factor.type.axes, name) !== undefined),
  );
  return isWhole ? { pair, isContract: false } : undefined;
}

function unrepeated(node: Node): Node {
  const [x] = node.inputs;
  return node.op === broadcast && x !== undefined ? unrepeated(x) : node;
}

/** Factors under other names for the axes of their product; summed axes get names that are free. */
function apart(
  math: BackwardMath,
  { pair: [a, b], isContract }: Factors,
  names: ReadonlyMap<string, string>,
  others: readonly string[] = [],
): Factors {
  const taken = new Set([...names.values(), ...others]);
  const all = new Map(names);
  for (const { name } of [...a.type.axes, ...b.type.axes]) {
    if (all.has(name)) continue;
    let free = name;
    while (taken.has(free)) free = `${free}_`;
    taken.add(free);
    all.set(name, free);
  }
  const called = (factor: Node): Node => renamed<string, DType>('gradients', math.tensor(factor), all).node;
  return { pair: [called(a), called(b)], isContract };
}
