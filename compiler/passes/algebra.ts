// Work moved from activations to weights: joins split, norms' affine parts folded in, products of weights taken once.
import { renaming } from '../match/renaming.ts';
import { bytesOf } from '../cost.ts';
import { axesWithin, fixedElements, namesOf, sameAxes } from '../../dsl/axis/axes.ts';
import { addSizes, axisOf, type Size } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { isFloat } from '../../dsl/graph/op.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { broadcast } from '../../dsl/ops/view.ts';
import { isFixed } from '../rewrite/fixed.ts';
import { isWidening } from '../rewrite/load-time.ts';
import type { RulePass } from '../rewrite/pass.ts';
import { asLinearMap, peel, ofOperands, type LinearMap } from '../match/linear-map.ts';
import { type Rewriter } from '../rewrite/rewriter.ts';
import type { Rule } from '../rewrite/rules.ts';
import { broadcastRules } from './broadcasts.ts';
import { constantRules } from './constants.ts';
import { viewRules } from './views.ts';
import { alongAxis } from '../../dsl/graph/attributes.ts';

/** More pieces than this would trade one long product for many short ones. */
const mostPieces = 4;

/** [a; b] W = a W[:n] + b W[n:]. */
function splitJoin(node: Node, r: Rewriter): Node | undefined {
  const product = asLinearMap(node);
  if (product === undefined) return undefined;
  const { inner, outer, again } = peel(product.x, r, false);
  if (inner.op.kind !== 'join') return undefined;
  const along = alongAxis(inner);
  const sum = outer(along);
  if (product.roles.sum.length !== 1 || product.roles.sum[0]?.name !== sum) return undefined;
  const repeats = (part: Node) =>
    part.op === broadcast &&
    part.type.axes.some(
      (axis) =>
        axisOf(product.roles.rows, outer(axis.name)) !== undefined &&
        axisOf(part.inputs[0]?.type.axes ?? [], axis.name) === undefined,
    );
  if (inner.inputs.length > mostPieces && !inner.inputs.some(repeats)) return undefined;
  let offset: Size = 0;
  const pieces: Node[] = [];
  for (const part of inner.inputs) {
    const size: Size = axisOf(part.type.axes, along)?.size ?? 0;
    pieces.push(ofOperands(product, again(part), r.slice(product.weights, sum, offset, size), r));
    offset = addSizes(offset, size);
  }
  return pieces.reduce((total, piece) => r.map('add', total, piece));
}

/** The two operands of a binary op, the fixed one last. */
function fixedLast(node: Node): readonly [Node, Node] | undefined {
  const [a, b] = node.inputs;
  if (a === undefined || b === undefined || isFixed(a) === isFixed(b)) return undefined;
  return isFixed(b) ? [a, b] : [b, a];
}

/**
 * True when the node is read by products that sum these axes of it, and by nothing else: then an affine step in front of them
 * is computed nowhere. A norm whose result is also a residual is computed anyway, and folding it would only add a tensor.
 */
function readByProducts(node: Node, axes: readonly string[], r: Rewriter, depth = 0): boolean {
  if (r.leaves(node) || depth > 4) return false;
  return r.readers(node).every((reader) => {
    const names = renaming(reader);
    if (names !== undefined)
      return readByProducts(
        reader,
        axes.map((name) => names.get(name) ?? name),
        r,
        depth + 1,
      );
    // The other half of the affine step, or a cast, on the way to the products.
    const isStep =
      reader.op.name === 'cast' ||
      ((reader.op.name === 'add' || reader.op.name === 'mul') && fixedLast(reader) !== undefined);
    if (isStep) return readByProducts(reader, axes, r, depth + 1);
    const product = asLinearMap(reader);
    return product !== undefined && axes.every((name) => axisOf(product.roles.sum, name) !== undefined);
  });
}

/** Weights whose product with anything would need more room than they have: 16-bit parameters, widened as they are read. */
function isNarrow(weights: Node): boolean {
  return (
    isWidening(weights) || ((weights.op.kind === 'view' || weights.op.kind === 'join') && weights.inputs.some(isNarrow))
  );
}

/** A parameter that something else reads too would be stored twice, once as it is and once folded. */
function isShared(weights: Node, r: Rewriter): boolean {
  const [x] = weights.inputs;
  if (weights.op.kind !== 'view' && weights.op.kind !== 'source') return false;
  // A gradient reads weights through the same view, along its other axis.
  return r.readers(weights).length > 1 || (x !== undefined && isShared(x, r));
}

interface Affine {
  readonly product: LinearMap;
  /** What is left of the activations. */
  readonly x: Node;
  /** The fixed operand of the step, with the axes it has in the product. */
  readonly step: Node;
}

function affineOperand(node: Node, name: 'mul' | 'add', r: Rewriter): Affine | undefined {
  const product = asLinearMap(node);
  if (product === undefined) return undefined;
  const { inner, outer, again } = peel(product.x, r, true);
  const operands = inner.op.name === name ? fixedLast(inner) : undefined;
  if (operands === undefined) return undefined;
  const [x, step] = operands;
  const axes = namesOf(step.type.axes);
  const summed = axes.every((axis) => axisOf(product.roles.sum, outer(axis)) !== undefined);
  if (!summed || !axesWithin(inner.type.axes, x.type.axes) || !readByProducts(inner, axes, r)) return undefined;
  return { product, x: again(x), step: again(step) };
}

/** (x·γ) W = x (γ·W) */
function scaleIntoWeights(node: Node, r: Rewriter): Node | undefined {
  const affine = affineOperand(node, 'mul', r);
  if (affine === undefined) return undefined;
  const { product, x, step } = affine;
  if (isNarrow(product.weights) || isShared(product.weights, r)) return undefined;
  if (bytesOf(product.weights.type) > r.choices.rewrittenBytes) return undefined;
  return ofOperands(product, x, r.map('mul', product.weights, step), r);
}

/** (x+β) W = x W + β W */
function shiftThroughWeights(node: Node, r: Rewriter): Node | undefined {
  const affine = affineOperand(node, 'add', r);
  if (affine === undefined || affine.product.roles.batch.length > 0) return undefined;
  const { product, x, step } = affine;
  const main = ofOperands(product, x, product.weights, r);
  // Σ β W over the summed axes; along those that β does not have it is the same.
  const wide = r.broadcast(step, [
    ...step.type.axes,
    ...product.roles.sum.filter((axis) => axisOf(step.type.axes, axis.name) === undefined),
  ]);
  return r.makeTyped(node.type, mapOp('add'), [
    main,
    r.contract(wide, product.weights, namesOf(product.roles.columns)),
  ]);
}

/** (x A) B = x (A B) where that is less work per row. */
function associateWeights(node: Node, r: Rewriter): Node | undefined {
  const second = asLinearMap(node);
  if (second === undefined) return undefined;
  const { inner, outer } = peel(second.x, r, false);
  const first = asLinearMap(inner);
  if (first === undefined || second.roles.batch.length > 0 || first.roles.batch.length > 0) return undefined;
  // Every column of the first product is summed by the second one, and nothing else is; the rows keep their names.
  const sum = namesOf(second.roles.sum);
  const columns = namesOf(first.roles.columns);
  if (
    sum.length !== columns.length ||
    !columns.every((name) => sum.includes(outer(name))) ||
    !first.roles.rows.every((row) => outer(row.name) === row.name)
  )
    return undefined;
  const [k, m, n] = [
    fixedElements(first.roles.sum),
    fixedElements(first.roles.columns),
    fixedElements(second.roles.columns),
  ];
  if (
    k * n > k * m + m * n ||
    isNarrow(first.weights) ||
    isNarrow(second.weights) ||
    isShared(first.weights, r) ||
    isShared(second.weights, r)
  )
    return undefined;
  if (!readOnce(inner, r)) return undefined;
  // The axes summed by the first product get names that nothing here has.
  const taken = new Set([...namesOf(node.type.axes), ...sum, ...namesOf(first.node.type.axes)]);
  const fresh = new Map(
    first.roles.sum.map(({ name }) => {
      let free = name;
      while (taken.has(free)) free = `${free}_in`;
      taken.add(free);
      return [name, free];
    }),
  );
  const shown = (x: Node, name: (axis: string) => string): Node =>
    r.relabel(x, namesOf(x.type.axes), namesOf(x.type.axes).map(name));
  const a = shown(first.weights, (name) => fresh.get(name) ?? outer(name));
  const both = r.contract(second.weights, a, [...namesOf(second.roles.columns), ...fresh.values()]);
  return r.contract(
    shown(first.x, (name) => fresh.get(name) ?? name),
    both,
    namesOf(node.type.axes),
  );
}

/** True when nothing but this chain of renamings reads the node. */
function readOnce(node: Node, r: Rewriter): boolean {
  const [reader, ...others] = r.readers(node);
  if (r.leaves(node) || others.length > 0) return false;
  return reader === undefined || renaming(reader) === undefined || readOnce(reader, r);
}

/** (x+b)+c = x+(b+c) where b and c are fixed. */
function regroupBiases(node: Node, r: Rewriter): Node | undefined {
  const outer = fixedLast(node);
  const inner = outer?.[0].op.name === 'add' ? fixedLast(outer[0]) : undefined;
  if (
    outer === undefined ||
    inner === undefined ||
    !isFloat(node.type.dtype) ||
    r.leaves(outer[0]) ||
    r.readers(outer[0]).length > 1
  )
    return undefined;
  const [x, b] = inner;
  const c = outer[1];
  if (!axesWithin(b.type.axes, c.type.axes) && !axesWithin(c.type.axes, b.type.axes)) return undefined;
  if (!sameAxes(x.type.axes, node.type.axes)) return undefined;
  return r.map('add', x, axesWithin(b.type.axes, c.type.axes) ? r.map('add', c, b) : r.map('add', b, c));
}

export const algebraRules: readonly Rule[] = [
  {
    name: 'product of a join',
    why: 'a sum over two stretches of an axis is two sums; what is the same along a row is then computed once',
    heads: ['contract'],
    apply: splitJoin,
  },
  {
    name: 'scale into the weights',
    why: 'a factor along summed axes belongs to either operand',
    heads: ['contract'],
    apply: scaleIntoWeights,
  },
  {
    name: 'shift through the weights',
    why: 'the product distributes over the sum, and one part is known at load time',
    heads: ['contract'],
    apply: shiftThroughWeights,
  },
  {
    name: 'product of weights',
    why: 'the product is associative; A·B is known at load time',
    heads: ['contract'],
    apply: associateWeights,
  },
  {
    name: 'biases together',
    why: 'addition is associative up to rounding; b+c is known at load time',
    heads: ['add'],
    apply: regroupBiases,
  },
];

/** The other tables walk along: what a split leaves behind is a broadcast again. */
export const algebra: RulePass = {
  name: 'algebra',
  why: 'less arithmetic for the same result',
  rules: [...algebraRules, ...constantRules, ...viewRules, ...broadcastRules],
};
