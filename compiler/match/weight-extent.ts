// Where the weights of a product are exactly 0: in the gradient of a masked attention, behind what its mask lets a query see. A kernel that
// computes such weights where it sums them need not walk them.
import type { Node } from '../../dsl/graph/graph.ts';
import { scalarValue } from '../rewrite/rules.ts';
import { findMaskExtent, seenBy, type MaskExtent } from './attention/mask-extent.ts';
import { scorePath } from './attention/score-path.ts';

export interface WeightExtent extends MaskExtent {
  /** The axis of keys; weights of those behind the last that a query sees are 0. */
  readonly key: string;
}

/**
 * Of the gradient of scores, `where(mask, x, 0)`, whatever x is; of the weights of a softmax, e^(logits − maximum) / sum, under the
 * conditions of `findMaskExtent`. Behind either, casts and products with one number. Undefined where nothing is known.
 */
export function findWeightExtent(weights: Node): WeightExtent | undefined {
  const [a, b, c] = weights.inputs;
  if (weights.op.kind !== 'map' || a === undefined) return undefined;
  if (weights.op.converts === true) return findWeightExtent(a);
  if (b === undefined) return undefined;
  switch (weights.op.name) {
    case 'mul': {
      const [by, other] = scalarValue(a) === undefined ? [b, a] : [a, b];
      return Number.isFinite(scalarValue(by) ?? NaN) ? findWeightExtent(other) : undefined;
    }
    case 'where': {
      if (c === undefined) return undefined;
      const keeps = scalarValue(c) === 0;
      if (!keeps && scalarValue(b) !== 0) return undefined;
      return ofSomeKey(weights, (key) => seenBy(a, keeps, weights.type.axes, key));
    }
    case 'div':
      return ofSoftmax(a);
    default:
      return undefined;
  }
}

/** e^(logits − maximum), before it is divided by its sum. */
function ofSoftmax(node: Node): WeightExtent | undefined {
  const [difference] = node.inputs;
  const logits = difference?.inputs[0];
  if (node.op.name !== 'exp' || difference?.op.name !== 'sub' || logits === undefined) return undefined;
  return ofSomeKey(node, (key) => {
    const path = scorePath(logits, key.name);
    return path && findMaskExtent(path.steps, key);
  });
}

function ofSomeKey(
  node: Node,
  find: (key: Node['type']['axes'][number]) => MaskExtent | undefined,
): WeightExtent | undefined {
  for (const key of node.type.axes) {
    const extent = find(key);
    if (extent !== undefined) return { ...extent, key: key.name };
  }
  return undefined;
}
