// The gradient of a softmax subtracts from each score's gradient the mean of its row, Σ_t p_t (dy·v_t). That is dy·Σ_t p_t v_t, and the sum is
// what the attention made: a product of two vectors in the place of a second walk over all keys (Dao et al. 2022, FlashAttention, appendix B).
import type { Node } from '../../dsl/graph/graph.ts';
import { reducedAxes } from '../../dsl/graph/graph.ts';
import { roles } from '../../dsl/ops/contract.ts';
import { sum } from '../../dsl/ops/reduce.ts';
import { axesWithin, elementsOf, namesOf } from '../../dsl/axis/axes.ts';
import type { RulePass } from '../rewrite/pass.ts';
import type { Rewriter } from '../rewrite/rewriter.ts';
import type { Rule } from '../rewrite/rules.ts';

/** A product of maps, taken apart. */
interface Factors {
  readonly times: readonly Node[];
  readonly by: readonly Node[];
  readonly negative: boolean;
}

/** `whole`: not to be taken apart. */
function factorsOf(node: Node, whole: (node: Node) => boolean): Factors {
  const [a, b] = node.inputs;
  if (whole(node) || a === undefined) return { times: [node], by: [], negative: false };
  if (node.op.name === 'neg') {
    const inner = factorsOf(a, whole);
    return { ...inner, negative: !inner.negative };
  }
  if (node.op.name === 'div' && b !== undefined) {
    const inner = factorsOf(a, whole);
    return { ...inner, by: [...inner.by, b] };
  }
  if (node.op.name !== 'mul' || b === undefined) return { times: [node], by: [], negative: false };
  const [left, right] = [factorsOf(a, whole), factorsOf(b, whole)];
  return {
    times: [...left.times, ...right.times],
    by: [...left.by, ...right.by],
    negative: left.negative !== right.negative,
  };
}

function weightedSum(node: Node, r: Rewriter): Node | undefined {
  const [x] = node.inputs;
  const [axis, ...others] = reducedAxes(node);
  if (x === undefined || axis === undefined || others.length > 0 || node.type.dtype !== 'f32') return undefined;
  const product = factorsOf(x, () => false).times.find((factor) => isProductAlong(factor, axis));
  const value = product?.inputs.find((operand) => hasAxis(operand, axis));
  const upstream = product?.inputs.find((operand) => operand !== value);
  if (product === undefined || value === undefined || upstream === undefined) return undefined;
  // What the weights make of the values is there already.
  const summed = (weights: Node): Node | undefined =>
    r.readers(weights).find((reader) => {
      const [a, b] = reader.inputs;
      if (reader.op.kind !== 'contract' || a === undefined || b === undefined) return false;
      const isBoth = (a === weights && b === value) || (b === weights && a === value);
      return isBoth && namesOf(roles(a.type, b.type, reader.type).sum).join() === axis;
    });
  const { times, by, negative } = factorsOf(x, (n) => n === product || summed(n) !== undefined);
  const rest = times.filter((factor) => factor !== product);
  // It is one factor: not two, and not a part of the weights.
  if (rest.length !== times.length - 1) return undefined;
  const weights = rest.filter((factor) => hasAxis(factor, axis));
  const result = weights[0] === undefined ? undefined : summed(weights[0]);
  if (weights.length !== 1 || result === undefined || by.some((factor) => hasAxis(factor, axis))) return undefined;
  const depth = namesOf(roles(upstream.type, value.type, product.type).sum);
  const left = result.type.axes.filter(({ name }) => !depth.includes(name));
  const isWhole =
    depth.every((name) => hasAxis(result, name)) &&
    axesWithin(upstream.type.axes, result.type.axes) &&
    left.length === node.type.axes.length &&
    axesWithin(left, node.type.axes);
  // The other way round it is as true: only the shorter of both sums is made.
  if (elementsOf(result.type.axes) >= elementsOf(x.type.axes)) return undefined;
  if (!isWhole || result.type.dtype !== 'f32' || upstream.type.dtype !== 'f32') return undefined;
  const both = r.map('mul', result, r.broadcast(upstream, result.type.axes));
  const total = r.relabel(r.make(sum, [both], { axes: depth }), namesOf(node.type.axes));
  const scaled = rest
    .filter((factor) => factor !== weights[0])
    .reduce((all, factor) => r.map('mul', all, factor), total);
  const divided = by.reduce((all, factor) => r.map('div', all, factor), scaled);
  return negative ? r.map('neg', divided) : divided;
}

function isProductAlong(node: Node, axis: string): boolean {
  const [a, b] = node.inputs;
  return (
    node.op.kind === 'contract' &&
    a !== undefined &&
    b !== undefined &&
    hasAxis(node, axis) &&
    hasAxis(a, axis) !== hasAxis(b, axis)
  );
}

function hasAxis(node: Node, name: string): boolean {
  return node.type.axes.some((axis) => axis.name === name);
}

export const weightedSumRules: readonly Rule[] = [
  {
    name: 'weighted sum of products',
    why: 'Σ_t p_t (a·v_t) = a·Σ_t p_t v_t, and the sum on the right is computed already',
    heads: ['sum'],
    apply: weightedSum,
  },
];

export const weightedSums: RulePass = {
  name: 'weighted sums',
  why: 'the gradient of an attention walks its keys once less',
  rules: weightedSumRules,
};
