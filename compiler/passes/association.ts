// Products of three factors in the order that is fewest operations, where gradients read what attention projects: q·(W x) = (Wᵀq)·x and
// Σ s (W x) = W Σ s x for any scores s, and of what flows back, Σ (s q) x = q Σ s x and W (s q) = s (W q). With many tokens to a query
// (an encoder of a spatial vision aggregator with 16), no projected token and no gradient of one is made.
import { axesWithin, elementsOf, namesOf } from '../../dsl/axis/axes.ts';
import { axisOf, type Axis } from '../../dsl/axis/axis.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { roles } from '../../dsl/ops/contract.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { broadcast, rearrange, slice } from '../../dsl/ops/view.ts';
import { renaming } from '../match/renaming.ts';
import type { RulePass } from '../rewrite/pass.ts';
import { sameType, type Rewriter } from '../rewrite/rewriter.ts';
import type { Rule } from '../rewrite/rules.ts';
import { scoresThroughWeights, sumThroughWeights } from './absorption.ts';
import { projections, type AsProduct, type Part } from './projections.ts';

// ---- what was projected -------------------------------------------------------------------------------------------------

/** A product with keys or values: their tokens are summed (`sums`), or stay. */
interface Reading {
  readonly node: Node;
  readonly projected: Node;
  readonly other: Node;
  readonly keyAxis: string;
  readonly sums: boolean;
}

function readingsOf(node: Node): readonly Reading[] {
  const [a, b] = node.inputs;
  if (node.op.kind !== 'contract' || a === undefined || b === undefined || a === b) return [];
  return [[a, b] as const, [b, a] as const].flatMap(([other, projected]) => {
    const { columns, sum } = roles(other.type, projected.type, node.type);
    const reading = (axes: readonly Axis[], sums: boolean) => {
      const [key, ...more] = axes;
      return key === undefined || more.length > 0 ? [] : [{ node, other, projected, keyAxis: key.name, sums }];
    };
    return [...reading(columns, false), ...reading(sum, true)];
  });
}

/** Weights of any kind, states that learn among them: what has no token. */
const asProduct: AsProduct = (node, along) => {
  const [a, b] = node.inputs;
  if (node.op.kind !== 'contract' || a === undefined || b === undefined) return undefined;
  const [x, weights] = axisOf(a.type.axes, along) === undefined ? [b, a] : [a, b];
  if (axisOf(x.type.axes, along) === undefined || axisOf(weights.type.axes, along) !== undefined) return undefined;
  return { x, weights, roles: roles(x.type, weights.type, node.type) };
};

/**
 * All that reads the projected tokens must do without them, or they are worked out all the same: the operations of a part are counted over
 * all of its readers.
 */
function readThroughWeights(node: Node, r: Rewriter): Node | undefined {
  for (const own of readingsOf(node)) {
    const { projected, other, keyAxis } = own;
    const all = r.leaves(projected) ? [] : r.readers(projected).map((reader) => alike(reader, own));
    if (all.length === 0 || all.some((one) => one === undefined)) continue;
    const readings = all.filter((one) => one !== undefined);
    // Without a gradient there is one reader, and the attention stays whole or is the business of `absorption`.
    if (!readings.some(({ sums }) => sums) || readings.every(({ sums }) => sums)) continue;
    const taken = new Set([
      ...namesOf(projected.type.axes),
      ...readings.flatMap((one) => [...namesOf(one.other.type.axes), ...namesOf(one.node.type.axes)]),
    ]);
    const parts = projections(projected, keyAxis, taken, r, asProduct);
    const isTaken = parts?.parts.map((part) => pays(part, readings, r.choices.absorptionGain));
    if (parts === undefined || isTaken?.includes(true) !== true) continue;
    const result = own.sums
      ? sumThroughWeights({ weights: other, values: parts, keyAxis, axes: node.type.axes }, isTaken, undefined, r)
      : scoresThroughWeights(
          { query: other, keys: parts, keyAxis, axes: namesOf(node.type.axes) },
          isTaken,
          undefined,
          r,
        );
    if (result !== undefined && sameType(result.type, node.type)) return result;
  }
  return undefined;
}

/** How another reader reads the same tokens. */
function alike(reader: Node, own: Reading): Reading | undefined {
  return readingsOf(reader).find(
    (one) => one.keyAxis === own.keyAxis && sameType(one.projected.type, own.projected.type),
  );
}

function pays({ projection, size }: Part, readings: readonly Reading[], leastGain: number): boolean {
  if (projection === undefined) return false;
  const { rows, columns, sum } = projection;
  const depth = elementsOf(sum);
  let [before, after] = [elementsOf(rows) * depth * elementsOf(columns), 0];
  for (const { node, other, projected, keyAxis, sums } of readings) {
    // What meets the weights without a token: queries on the way to the scores, or what the scores have summed.
    const [free, scores] = sums ? [node, other] : [other, node];
    const own = roles(other.type, projected.type, node.type);
    const inner = sums ? own.columns : own.sum;
    if (!axesWithin(inner, columns) || !axesWithin(columns, free.type.axes)) return false;
    const pairs = elementsOf(scores.type.axes.filter((axis) => axis.name !== keyAxis)) * size;
    before += pairs * elementsOf(inner);
    after += elementsOf(free.type.axes) * depth + pairs * depth;
  }
  return before >= leastGain * after;
}

// ---- what flows back ----------------------------------------------------------------------------------------------------

/** A product of two values that lack axes each, its axes perhaps merged and cut: each factor has the axes of the product by the names `parts`. */
interface Outer {
  readonly factors: readonly [Node, Node];
  /** Of each axis of the whole, what it is merged of, outermost first. */
  readonly parts: ReadonlyMap<string, readonly Axis[]>;
}

function outerOf(node: Node, r: Rewriter): Outer | undefined {
  const [x] = node.inputs;
  if (x === undefined) return undefined;
  if (node.op === slice) {
    const { axis, start, size, step } = slice.read(node.attrs);
    const under = outerOf(x, r);
    const [part, ...more] = under?.parts.get(axis) ?? [];
    if (under === undefined || part === undefined || more.length > 0) return undefined;
    const cut = (factor: Node): Node =>
      axisOf(factor.type.axes, part.name) === undefined ? factor : r.slice(factor, part.name, start, size, step);
    const [a, b] = under.factors;
    return { factors: [cut(a), cut(b)], parts: new Map([...under.parts, [axis, [{ name: part.name, size }]]]) };
  }
  if (node.op === rearrange) {
    const { split, merge, sizes } = rearrange.read(node.attrs);
    const under = outerOf(x, r);
    const isMerge = split.every((parts, i) => parts.length === 1 && parts[0] === x.type.axes[i]?.name);
    if (under === undefined || !isMerge) return undefined;
    const partsOf = (part: string): readonly Axis[] =>
      under.parts.get(part) ?? [{ name: part, size: sizes[part] ?? 1 }];
    return { factors: under.factors, parts: new Map(merge.map(({ name, parts }) => [name, parts.flatMap(partsOf)])) };
  }
  const [a, b] = node.inputs;
  if (node.op !== mapOp('mul') || a === undefined || b === undefined) return undefined;
  const parts = new Map(node.type.axes.map((axis) => [axis.name, [axis]]));
  return { factors: [narrow(a), narrow(b)], parts };
}

/** Without the axes along which it is the same, and in the order that it had: products go by names. */
function narrow(node: Node): Node {
  const [x] = node.inputs;
  const isOrder = [...(renaming(node) ?? [['', ' ']])].every(([from, to]) => from === to);
  return x !== undefined && (node.op === broadcast || isOrder) ? narrow(x) : node;
}

/** (u·v)·z as u·(v·z). */
function productOfThree(node: Node, r: Rewriter): Node | undefined {
  const [a, b] = node.inputs;
  if (node.op.kind !== 'contract' || a === undefined || b === undefined || a === b) return undefined;
  return threeFactors(node, a, b, r) ?? threeFactors(node, b, a, r);
}

function threeFactors(node: Node, whole: Node, z: Node, r: Rewriter): Node | undefined {
  const outer = outerOf(whole, r);
  if (outer === undefined || outer.factors.some((factor) => factor.type.dtype !== z.type.dtype)) return undefined;
  const own = z.type.axes.filter(({ name }) => !outer.parts.has(name));
  const parts = (axis: Axis): readonly Axis[] => outer.parts.get(axis.name) ?? [axis];
  const elementary = [...outer.parts.values()].flat();
  const isClear = own.every(({ name }) => axisOf(elementary, name) === undefined);
  // An axis along which both are the same is in neither.
  const [u, v] = outer.factors;
  const isWhole =
    outer.factors.every((factor) => axesWithin(factor.type.axes, elementary)) &&
    axesWithin(elementary, joined(u.type.axes, v.type.axes));
  const result = node.type.axes.flatMap(parts);
  if (!isClear || !isWhole || new Set(namesOf(elementary)).size < elementary.length) return undefined;
  const shown = z.type.axes.flatMap(parts);
  const before = elementsOf(elementary) + elementsOf(joined(elementary, shown));
  const [best] = [plan(u, v), plan(v, u)].sort((one, other) => one.operations - other.operations);
  if (best === undefined || before < r.choices.absorptionGain * best.operations) return undefined;
  const inner = r.contract(
    best.first,
    rearranged(
      z,
      z.type.axes.map((axis) => [axis.name, parts(axis)]),
      false,
      r,
    ),
    namesOf(best.left),
  );
  const product = r.contract(best.second, inner, namesOf(result));
  const merged = rearranged(
    product,
    node.type.axes.map((axis) => [axis.name, parts(axis)]),
    true,
    r,
  );
  return sameType(merged.type, node.type) ? merged : undefined;

  function plan(first: Node, second: Node) {
    const met = joined(first.type.axes, shown);
    const left = met.filter(
      ({ name }) => axisOf(result, name) !== undefined || axisOf(second.type.axes, name) !== undefined,
    );
    return { first, second, left, operations: elementsOf(met) + elementsOf(joined(left, second.type.axes)) };
  }
}

function joined(a: readonly Axis[], b: readonly Axis[]): readonly Axis[] {
  return [...a, ...b.filter(({ name }) => axisOf(a, name) === undefined)];
}

type Grouping = readonly (readonly [name: string, parts: readonly Axis[]])[];

/** Each axis as its parts, or the parts of each axis as one. */
function rearranged(x: Node, axes: Grouping, merges: boolean, r: Rewriter): Node {
  if (axes.every(([name, [only, ...more]]) => more.length === 0 && only?.name === name)) return x;
  const whole = axes.map(([name, parts]) => ({ name, parts: namesOf(parts) }));
  const all = axes.flatMap(([, parts]) => parts);
  return r.make(rearrange, [x], {
    split: merges ? all.map(({ name }) => [name]) : whole.map(({ parts }) => parts),
    merge: merges ? whole : all.map(({ name }) => ({ name, parts: [name] })),
    sizes: Object.fromEntries(all.map(({ name, size }) => [name, size])),
  });
}

export const associationRules: readonly Rule[] = [
  {
    name: 'projection of a gradient',
    why: 'products are associative, also through a concatenation; what is computed from projected tokens can do without them',
    heads: ['contract'],
    apply: readThroughWeights,
  },
  {
    name: 'product of three factors',
    why: 'products are associative, and distribute over sums',
    heads: ['contract'],
    apply: productOfThree,
  },
];

/** After absorption, which knows more of a softmax; before siblings. */
export const association: RulePass = {
  name: 'association',
  why: 'the gradient of an attention over many tokens to a query projects none of them',
  rules: associationRules,
};
