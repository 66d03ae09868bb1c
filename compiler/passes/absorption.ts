// Re-association through attention: q·(W x) = (Wᵀq)·x and Σ p (W x) = W Σ p x, part by part of a concatenation of keys or values.
// Where many tokens are projected for few queries (an encoder with 16 tokens to each query of a spatial vision aggregator), the queries
// take the weights over and the tokens are never projected. (Cambrian-1, arXiv 2406.16860; the algebra is that of DeepSeek-V2's MLA.)
import { axesWithin, elementsOf, namesOf } from '../../dsl/axis/axes.ts';
import { type Axis } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { sum } from '../../dsl/ops/reduce.ts';
import { roles, type Roles } from '../../dsl/ops/contract.ts';
import { matchSoftmax } from '../match/composites.ts';
import type { RulePass } from '../rewrite/pass.ts';
import { sameType, type Rewriter } from '../rewrite/rewriter.ts';
import type { Rule } from '../rewrite/rules.ts';
import { scorePath, type ScoreStep } from '../match/attention/score-path.ts';
import { projections, type Part, type Parts, type Projection } from './projections.ts';

/** An attention before grouping: weights that are a softmax of a product of query and key, and the product with the values. */
interface Found {
  readonly weights: Node;
  readonly scores: Node;
  readonly query: Node;
  readonly keyAxis: string;
  readonly keys: Parts;
  readonly values: Parts;
  readonly first: Roles;
  readonly second: Roles;
}

function find(node: Node, r: Rewriter): Found | undefined {
  for (const side of [0, 1] as const) {
    const [weights, value] = [node.inputs[side], node.inputs[1 - side]];
    const softmax = weights === undefined ? undefined : matchSoftmax(weights);
    if (weights === undefined || value === undefined || softmax === undefined || isReadElsewhere(weights, r)) continue;
    const keyAxis = softmax.axis;
    const path = scorePath(softmax.logits, keyAxis);
    const scores = path?.steps.every(isTransparent) === true ? path.scores : undefined;
    const [a, b] = scores?.inputs ?? [];
    if (scores === undefined || a === undefined || b === undefined || isReadElsewhere(scores, r)) return undefined;
    const [query, key] = a.type.axes.some((axis) => axis.name === keyAxis) ? [b, a] : [a, b];
    const first = roles(query.type, key.type, scores.type);
    const second = roles(weights.type, value.type, node.type);
    if (
      namesOf(first.columns).join() !== keyAxis ||
      namesOf(second.sum).join() !== keyAxis ||
      query.type.axes.some((axis) => axis.name === keyAxis)
    )
      return undefined;
    const taken = new Set([
      ...namesOf(query.type.axes),
      ...namesOf(scores.type.axes),
      ...namesOf(node.type.axes),
      ...namesOf(value.type.axes),
      ...namesOf(key.type.axes),
    ]);
    const [keys, values] = [projections(key, keyAxis, taken, r), projections(value, keyAxis, taken, r)];
    return keys === undefined || values === undefined
      ? undefined
      : { weights, scores, query, keyAxis, keys, values, first, second };
  }
  return undefined;
}

/** A second reader would need the old form beside the new one. */
function isReadElsewhere(node: Node, r: Rewriter): boolean {
  return r.leaves(node) || r.readers(node).length > 1;
}

/**
 * True for what leaves the softmax as it is when every score of a row grows by the same amount: factors, casts, and masks that replace
 * scores by a constant.
 */
function isTransparent(step: ScoreStep): boolean {
  return step.kind === 'cast' || step.kind === 'scale' || (step.kind === 'mask' && step.keeps && step.low <= -1e30);
}

/** Operations of a part as written over those with the weights taken to the other side. */
function gain(
  { projection, size }: Part,
  one: { readonly other: readonly Axis[]; readonly paired: readonly Axis[]; readonly inner: number },
): number {
  if (projection === undefined) return 0;
  const [rows, depth, columns] = [
    elementsOf(projection.rows),
    elementsOf(projection.sum),
    elementsOf(projection.columns),
  ];
  const pairs = elementsOf(one.paired) * size;
  return (rows * depth * columns + pairs * one.inner) / (elementsOf(one.other) * depth + pairs * depth);
}

function absorb(node: Node, r: Rewriter): Node | undefined {
  const found = find(node, r);
  if (found === undefined) return undefined;
  const { query, keys, values, first, second, weights, scores, keyAxis } = found;
  // Fewer operations by this factor, or the attention stays one kernel.
  const leastGain = r.choices.absorptionGain;
  const paired = scores.type.axes.filter((axis) => axis.name !== keyAxis);
  const within = (axes: readonly Axis[], names: readonly string[]) => axes.every((axis) => names.includes(axis.name));
  const keyTaken = keys.parts.map(
    (part) =>
      part.projection !== undefined &&
      within(first.sum, namesOf(part.projection.columns)) &&
      within(part.projection.columns, namesOf(query.type.axes)) &&
      gain(part, { other: query.type.axes, paired, inner: elementsOf(first.sum) }) >= leastGain,
  );
  const mixed = weights.type.axes.filter((axis) => axis.name !== keyAxis);
  const valueTaken = values.parts.map(
    (part) =>
      part.projection !== undefined &&
      within(second.columns, namesOf(part.projection.columns)) &&
      within(part.projection.columns, namesOf(node.type.axes)) &&
      gain(part, { other: node.type.axes, paired: mixed, inner: elementsOf(second.columns) }) >= leastGain,
  );
  if (!keyTaken.includes(true) && !valueTaken.includes(true)) return undefined;
  // A row may grow by one amount without changing the softmax: the bias of the first part that is taken is subtracted from all. That part
  // then has none, and the others have a difference that is known at load time.
  const keyBias = keys.parts.find((_, i) => keyTaken[i] === true)?.projection?.bias;
  const newScores = keyTaken.includes(true)
    ? scoresThroughWeights({ query, keys, keyAxis, axes: namesOf(scores.type.axes) }, keyTaken, keyBias, r)
    : scores;
  if (newScores === undefined || !sameType(newScores.type, scores.type)) return undefined;
  const newWeights = rebuilt(weights, scores, newScores, r);
  // The weights of a row sum to 1, so the bias of the first part that is taken is subtracted from all and added once.
  const valueBias = values.parts.find((_, i) => valueTaken[i] === true)?.projection;
  const result = valueTaken.includes(true)
    ? sumThroughWeights({ weights: newWeights, values, keyAxis, axes: node.type.axes }, valueTaken, valueBias, r)
    : rebuilt(node, weights, newWeights, r);
  return result !== undefined && sameType(result.type, node.type) ? result : undefined;
}

/** A query, and the keys that it meets; `axes`: of the scores. */
export interface Scored {
  readonly query: Node;
  readonly keys: Parts;
  readonly keyAxis: string;
  readonly axes: readonly string[];
}

/** The scores of all parts, joined, less what `bias` adds to each. */
export function scoresThroughWeights(
  { query, keys, keyAxis, axes }: Scored,
  taken: readonly boolean[],
  bias: Node | undefined,
  r: Rewriter,
): Node | undefined {
  const joined = stretches(keys.parts, taken).map((stretch): Node | undefined => {
    if (!stretch.taken) {
      const shifted = stretch.parts.map((part) => lowered(part, bias, r));
      return shifted.every((part) => part !== undefined)
        ? r.contract(query, keys.shown(r.concat(shifted, keys.along)), axes)
        : undefined;
    }
    const [part] = stretch.parts;
    const projection = part?.projection;
    if (part === undefined || projection === undefined) return undefined;
    const moved = r.contract(query, projection.weights, [
      ...namesOf(query.type.axes).filter((name) => !namesOf(projection.columns).includes(name) || axes.includes(name)),
      ...namesOf(projection.sum),
    ]);
    const own = r.contract(moved, projection.x, axes);
    const rest = difference(projection, bias, r);
    if (rest === undefined) return own;
    return r.map(
      'add',
      own,
      r.broadcast(
        r.contract(
          query,
          projection.shownColumns(rest),
          axes.filter((name) => name !== keyAxis),
        ),
        own.type.axes,
      ),
    );
  });
  return joined.every((part) => part !== undefined) ? r.concat(joined, keyAxis) : undefined;
}

/** Weights, and the values of which they make a sum; `axes`: of the sum. */
export interface Weighted {
  readonly weights: Node;
  readonly values: Parts;
  readonly keyAxis: string;
  readonly axes: readonly Axis[];
}

/** Σ p v of all parts, added; `reference`: a part whose bias is taken off all of them, which is right where weights sum to 1. */
export function sumThroughWeights(
  { weights, values, keyAxis, axes: whole }: Weighted,
  taken: readonly boolean[],
  reference: Projection | undefined,
  r: Rewriter,
): Node | undefined {
  const bias = reference?.bias;
  const axes = namesOf(whole);
  const terms: (Node | undefined)[] = [];
  for (const stretch of stretches(values.parts, taken)) {
    const share = r.slice(weights, keyAxis, stretch.start, stretch.size);
    if (!stretch.taken) {
      const shifted = stretch.parts.map((part) => lowered(part, bias, r));
      terms.push(
        shifted.every((part) => part !== undefined)
          ? r.contract(share, values.shown(r.concat(shifted, values.along)), axes)
          : undefined,
      );
      continue;
    }
    const projection = stretch.parts[0]?.projection;
    if (projection === undefined) return undefined;
    const mean = r.contract(share, projection.x, [
      ...namesOf(share.type.axes).filter((name) => name !== keyAxis),
      ...namesOf(projection.sum),
    ]);
    terms.push(r.contract(mean, projection.weights, axes));
    const rest = difference(projection, bias, r);
    if (rest !== undefined)
      terms.push(
        r.map('mul', r.broadcast(r.make(sum, [share], { axes: [keyAxis] }), whole), projection.shownColumns(rest)),
      );
  }
  // The largest product last: maps that follow are its epilogue.
  const all = terms.every((term) => term !== undefined)
    ? terms.reduceRight((total, term) => r.map('add', total, term))
    : undefined;
  return all === undefined || bias === undefined || reference === undefined
    ? all
    : r.map('add', all, reference.shownColumns(bias));
}

interface Stretch {
  readonly taken: boolean;
  readonly parts: readonly Part[];
  readonly start: number;
  readonly size: number;
}

/** Parts in order: each that is taken alone, others with their neighbours. */
function stretches(parts: readonly Part[], taken: readonly boolean[]): readonly Stretch[] {
  const made: Stretch[] = [];
  let start = 0;
  parts.forEach((part, i) => {
    const last = made.at(-1);
    if (taken[i] !== true && last !== undefined && !last.taken)
      made[made.length - 1] = { ...last, parts: [...last.parts, part], size: last.size + part.size };
    else made.push({ taken: taken[i] === true, parts: [part], start, size: part.size });
    start += part.size;
  });
  return made;
}

/** A part less the bias; where it has a bias of its own, the difference is fixed. */
function lowered({ node, projection }: Part, bias: Node | undefined, r: Rewriter): Node | undefined {
  if (bias === undefined) return node;
  if (!axesWithin(bias.type.axes, node.type.axes)) return undefined;
  const rest = projection === undefined ? undefined : difference(projection, bias, r);
  return projection === undefined || rest === undefined
    ? r.map('add', node, r.map('neg', bias))
    : r.map('add', projection.product, rest);
}

/** The part's own bias less another; undefined where that is nothing. */
function difference({ bias: own }: Projection, bias: Node | undefined, r: Rewriter): Node | undefined {
  if (own === bias) return undefined;
  if (bias === undefined) return own;
  return own === undefined ? r.map('neg', bias) : r.map('sub', own, bias);
}

/** `node` with `from` replaced below it. */
function rebuilt(node: Node, from: Node, to: Node, r: Rewriter): Node {
  const made = new Map<Node, Node>([[from, to]]);
  const again = (n: Node): Node => {
    const known = made.get(n);
    if (known !== undefined) return known;
    // Operands are older than what reads them.
    const inputs = n.id < from.id ? n.inputs : n.inputs.map(again);
    const result = inputs.every((input, i) => input === n.inputs[i]) ? n : r.make(n.op, inputs, n.attrs);
    made.set(n, result);
    return result;
  };
  return again(node);
}

export const absorptionRules: readonly Rule[] = [
  {
    name: 'projection through attention',
    why: 'products are associative, also through a concatenation and through a weighted sum; a softmax does not change when a row grows by one amount, and its weights sum to 1',
    heads: ['contract'],
    apply: absorb,
  },
];

/** After the norms are in the weights, and before keys and values become one product. */
export const absorption: RulePass = {
  name: 'absorption',
  why: 'tokens that few queries look at are not projected',
  rules: absorptionRules,
};
