// What learns beside a frozen matrix as a product of low rank (LoRA) is never made as a matrix, nor is its gradient: rows meet one factor
// after the other.
import { elementsOf, namesOf, sameAxes } from '../../dsl/axis/axes.ts';
import { axisOf, type Axis } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { roles } from '../../dsl/ops/contract.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { peel } from '../match/linear-map.ts';
import { renaming } from '../match/renaming.ts';
import { isFixed, isUnpacked } from '../rewrite/fixed.ts';
import type { RulePass } from '../rewrite/pass.ts';
import type { Rewriter } from '../rewrite/rewriter.ts';
import { scalarValue, type Rule } from '../rewrite/rules.ts';

/** Operations of the matrix, by those of its factors: in less than this it is not of low rank. */
const leastGain = 4;

/** A value that is multiplied by a number, and how another one is. */
function unscaled(node: Node, r: Rewriter): { readonly inner: Node; readonly times: (x: Node) => Node } {
  const number = node.op.name === 'mul' ? node.inputs.find((input) => scalarValue(input) !== undefined) : undefined;
  const inner = node.inputs.find((input) => input !== number);
  const value = number === undefined ? undefined : scalarValue(number);
  if (inner === undefined || value === undefined || !sameAxes(inner.type.axes, node.type.axes))
    return { inner: node, times: (x) => x };
  return { inner, times: (x) => r.map('mul', x, r.scalar(value, x.type.dtype)) };
}

const both = (node: Node): readonly (readonly [Node, Node])[] => {
  const [a, b] = node.inputs;
  return node.op.kind !== 'contract' || a === undefined || b === undefined || a === b
    ? []
    : [
        [a, b],
        [b, a],
      ];
};

/** True where products alone read it, through other names: otherwise it is made all the same. */
function readByProducts(node: Node, r: Rewriter): boolean {
  if (r.leaves(node)) return false;
  return r.readers(node).every((reader) => {
    const isSeen = renaming(reader) !== undefined || reader.op.name === 'cast' || unscaled(reader, r).inner === node;
    return reader.op.kind === 'contract' || (isSeen && readByProducts(reader, r));
  });
}

const has = (axes: readonly Axis[], names: readonly Axis[]): boolean =>
  names.every(({ name }) => axisOf(axes, name) !== undefined);
const without = (axes: readonly Axis[], other: readonly Axis[]): readonly Axis[] =>
  axes.filter(({ name }) => axisOf(other, name) === undefined);

/** Quantized weights too. */
const isFrozen = (node: Node): boolean => isFixed(node) || isUnpacked(node);

/** x (W + s B A) = x W + s (x A) B. */
function throughFactors(node: Node, r: Rewriter): Node | undefined {
  for (const [x, whole] of both(node)) {
    const { inner, again } = peel(whole, r, true);
    if (inner.op.name !== 'add') continue;
    const frozen = inner.inputs.find(isFrozen);
    const learned = inner.inputs.find((input) => !isFrozen(input));
    if (frozen === undefined || learned === undefined || !sameAxes(frozen.type.axes, inner.type.axes)) continue;
    const { inner: matrix, times } = unscaled(learned, r);
    const [one, other] = matrix.inputs;
    if (matrix.op.kind !== 'contract' || one === undefined || other === undefined) continue;
    const { sum: rank, batch } = roles(one.type, other.type, matrix.type);
    const own = roles(x.type, whole.type, node.type);
    const factors = [again(one), again(other)];
    const near = factors.find(({ type }) => has(type.axes, own.sum));
    const far = factors.find((factor) => factor !== near);
    if (near === undefined || far === undefined || batch.length + own.batch.length > 0 || rank.length !== 1) continue;
    const isClear = rank.every(({ name }) => axisOf(x.type.axes, name) === undefined);
    const [n, k] = [elementsOf(without(far.type.axes, rank)), elementsOf(own.sum)];
    if (!isClear || n * k < leastGain * elementsOf(rank) * (n + k) || !readByProducts(inner, r)) continue;
    const narrow = r.contract(x, near, namesOf([...own.rows, ...rank]));
    const low = times(r.contract(narrow, far, namesOf(node.type.axes)));
    const main = r.contract(x, again(frozen), namesOf(node.type.axes));
    const sum = r.makeTyped(node.type, mapOp('add'), [main, low]);
    if (sum !== undefined) return sum;
  }
  return undefined;
}

/** Made of parameters and states by maps and views. */
function isGiven({ op, inputs }: Node): boolean {
  if (op.kind === 'source') return op.role === 'param' || op.role === 'state';
  return (op.kind === 'map' || op.kind === 'view') && inputs.length === 1 && inputs.every(isGiven);
}

/** (yᵀ x) A = yᵀ (x A): the gradient of one factor, of what would be the gradient of the matrix. */
function gradientOfFactor(node: Node, r: Rewriter): Node | undefined {
  for (const [whole, factor] of both(node)) {
    if (!isGiven(factor)) continue;
    const { inner: seen, times } = unscaled(whole, r);
    const { inner: matrix, again } = peel(seen, r, false);
    const own = roles(whole.type, factor.type, node.type);
    if (own.batch.length > 0 || isFixed(matrix)) continue;
    for (const [y, x] of both(matrix).map((pair) => [again(pair[0]), again(pair[1])] as const)) {
      const { sum: rows, batch } = roles(y.type, x.type, seen.type);
      const [left, rank] = [without(y.type.axes, rows), without(factor.type.axes, own.sum)];
      if (batch.length > 0 || !has(x.type.axes, own.sum) || has(rows, own.sum)) continue;
      if (without(without(x.type.axes, rows), own.sum).length > 0) continue;
      if ([...rank].some(({ name }) => axisOf([...x.type.axes, ...y.type.axes], name) !== undefined)) continue;
      const [n, k] = [elementsOf(left), elementsOf(own.sum)];
      if (n * k < leastGain * elementsOf(rank) * (n + k) || !readByProducts(matrix, r)) continue;
      const narrow = r.contract(x, factor, namesOf([...rows, ...rank]));
      const made = times(r.contract(y, narrow, namesOf(node.type.axes)));
      if (sameAxes(made.type.axes, node.type.axes) && made.type.dtype === node.type.dtype) return made;
    }
  }
  return undefined;
}

export const lowRankRules: readonly Rule[] = [
  {
    name: 'product of a matrix and its addition of low rank',
    why: 'products distribute over sums, and are associative; the sum would be a matrix that nothing else reads',
    heads: ['contract'],
    apply: throughFactors,
  },
  {
    name: 'gradient of a factor of low rank',
    why: 'products are associative; the gradient of the matrix is read for its factors alone',
    heads: ['contract'],
    apply: gradientOfFactor,
  },
];

export const lowRank: RulePass = {
  name: 'low rank',
  why: 'what learns beside a frozen matrix as a product of two thin ones is not made as a matrix',
  rules: lowRankRules,
};
