// How far a row of attention sees: causal masks weigh every key behind the diagonal with exactly 0, so a kernel need not walk them.
//
// Leaving keys out gives what the graph says only when three things hold, and `findMaskExtent` refuses where one is not certain:
// 1. Every row sees at least one key: the last key seen is at least 0 by its interval. A row that sees none weighs ALL keys alike, because
//    softmax over equal numbers, all of them the mask's constant, is uniform.
// 2. Nothing else masks keys. A second mask may void all keys that a row sees, and then again all keys, those behind the diagonal too, weigh
//    alike. So the logits are the `where` itself, and between it and the product stand casts and scalings by modest constants only.
// 3. A kernel that walks keys for several rows at once goes as far as the farthest of them; `seenKeys` grows with the position.
// A masked key then weighs e^(constant − maximum), which is 0 in f32 as long as the maximum is 104 above the constant: the templates ask
// the same of scores where they pad with −3·10³⁸. What cannot be kept is 0·∞ and 0·NaN: a value behind the diagonal is never read.
import type { Axis } from '../../../dsl/axis/axis.ts';
import type { Node } from '../../../dsl/graph/graph.ts';
import { isFloat } from '../../../dsl/graph/op.ts';
import { scalarValue } from '../../rewrite/rules.ts';
import type { ScoreStep } from './score-path.ts';
import {
  add,
  alwaysHolds,
  atomIndex,
  clamp,
  constantIndex,
  indexMath,
  scale,
  sizeIndex,
  type Index,
} from '../../index/index-math.ts';
import { coefficient, mentions, substitute } from '../../index/index-variables.ts';
import { loopVariable } from '../../kernel/kernel.ts';
import type { IndexMap } from '../../kernel/storage.ts';
import { extentOf } from '../../../dsl/ops/source.ts';

export interface MaskExtent {
  /** The query axis that the keys' order is compared with. */
  readonly axis: Axis;
  /** The last key that a row sees, of the variable named as the axis: growing; it may lie beyond the last key there is. That of `findMaskExtent` is at least 0. */
  readonly last: Index;
}

/** What a mask's constant is at most: far below any score. */
const masking = -1e38;

/** What scores may be multiplied by, so that no scaling by itself makes them as low as a mask. */
const largestScale = 2 ** 20;

/** The mask extent of rows whose logits are made of their scores by `steps`, the last first; undefined where keys must all be walked. */
export function findMaskExtent(steps: readonly ScoreStep[], key: Axis): MaskExtent | undefined {
  const [last, ...scaling] = steps;
  if (last?.kind !== 'mask' || last.node.type.dtype !== 'f32' || !scaling.every(isScaling)) return undefined;
  const { node: masked, mask, keeps, low } = last;
  if (!(low <= masking)) return undefined;
  const extent = seenBy(mask, keeps, masked.type.axes, key);
  return extent !== undefined && extent.last.least >= 0 ? extent : undefined;
}

/** The keys of a tensor with these axes at which a mask is `keeps`, where these are the first ones, as many as a position along one other axis says. */
export function seenBy(mask: Node, keeps: boolean, axes: readonly Axis[], key: Axis): MaskExtent | undefined {
  // As indices, every axis of the scores is a variable of its name.
  const index = new Map(axes.map((axis) => [axis.name, atomIndex(loopVariable(axis.name, sizeIndex(axis.size)))]));
  const slack = slackOf(mask, index, keeps);
  // A key is seen while slack = affine(row) − key is not negative.
  if (slack === undefined || coefficient(slack, key.name) !== -1) return undefined;
  const seen = substitute(slack, key.name, constantIndex(0));
  const [axis, ...more] = axes.filter(({ name }) => name !== key.name && mentions(seen, name));
  if (axis === undefined || more.length > 0 || !((coefficient(seen, axis.name) ?? 0) > 0)) return undefined;
  return { axis, last: seen };
}

/** Keys that a row at this position along the maskExtent's axis sees, counted from the first: all of `keys` at most. */
export function seenKeys({ axis, last }: MaskExtent, position: Index, keys: Index): Index {
  const own = substitute(last, axis.name, position);
  const isThere = add(keys, constantIndex(-1), scale(own, -1)).least >= 0;
  return add(isThere ? own : clamp(own, keys), constantIndex(1));
}

/** A cast between floats, or a product with a modest constant. */
function isScaling(step: ScoreStep): boolean {
  return (
    step.kind === 'cast' ||
    (step.kind === 'scale' && Math.abs(step.by) <= largestScale && isFloat(step.node.type.dtype))
  );
}

const comparisons = ['ge', 'gt', 'le', 'lt'] as const;
const opposite = { ge: 'lt', gt: 'le', le: 'gt', lt: 'ge' } as const;

/** What is at least 0 exactly where the comparison comes out as `wanted`; undefined when it is none of whole positions. */
function slackOf(condition: Node, index: IndexMap, wanted: boolean): Index | undefined {
  const [a, b] = condition.inputs;
  const name = comparisons.find((known) => known === condition.op.name);
  if (name === undefined || a === undefined || b === undefined) return undefined;
  const [left, right] = [positionOf(a, index), positionOf(b, index)];
  if (left === undefined || right === undefined) return undefined;
  const difference = (x: Index, y: Index, less: number): Index => add(x, scale(y, -1), constantIndex(-less));
  const test = wanted ? name : opposite[name];
  switch (test) {
    case 'ge':
      return difference(left, right, 0);
    case 'gt':
      return difference(left, right, 1);
    case 'le':
      return difference(right, left, 0);
    case 'lt':
      return difference(right, left, 1);
    default:
      return test satisfies never;
  }
}

/** An i32 that is made of positions, sizes and whole constants, as an index; undefined where it is more, or may wrap around. */
function positionOf(node: Node, index: IndexMap): Index | undefined {
  const found = node.type.dtype === 'i32' ? compute(node, index) : undefined;
  return found !== undefined && found.least >= -(2 ** 31) && found.most < 2 ** 31 ? found : undefined;
}

function compute(node: Node, index: IndexMap): Index | undefined {
  const [a, b] = node.inputs;
  const { op, attrs } = node;
  if (op.kind === 'view' && a !== undefined) {
    const source = op.source(indexMath, index, attrs, a.type);
    return source.guards.every(alwaysHolds) ? positionOf(a, source.index) : undefined;
  }
  if ((op.name === 'add' || op.name === 'sub') && a !== undefined && b !== undefined) {
    const [x, y] = [positionOf(a, index), positionOf(b, index)];
    return x === undefined || y === undefined ? undefined : add(x, op.name === 'add' ? y : scale(y, -1));
  }
  if (op.name === 'iota') return index.get(node.type.axes[0]?.name ?? '');
  const size = extentOf(node);
  if (size !== undefined) return sizeIndex(size);
  const value = scalarValue(node);
  return value !== undefined && Number.isInteger(value) ? constantIndex(value) : undefined;
}
