// The way from the logits of an attention back to the product of query and key: one map after another, and what each does to a score.
import type { Node } from '../../../dsl/graph/graph.ts';
import { isFloat } from '../../../dsl/graph/op.ts';
import { scalarValue } from '../../rewrite/rules.ts';

export type ScoreStep =
  /** Between float dtypes. */
  | { readonly kind: 'cast'; readonly node: Node }
  | { readonly kind: 'scale'; readonly node: Node; readonly by: number }
  | { readonly kind: 'add'; readonly node: Node; readonly bias: Node }
  /** The number `low` where `mask` is not `keeps`. */
  | { readonly kind: 'mask'; readonly node: Node; readonly mask: Node; readonly keeps: boolean; readonly low: number }
  | { readonly kind: 'other'; readonly node: Node };

export interface ScorePath {
  readonly scores: Node;
  /** From the logits down: the last map first. */
  readonly steps: readonly ScoreStep[];
}

/** Through maps that each have one operand which depends on a product along the key axis; undefined where there is none, or more. */
export function scorePath(logits: Node, axis: string): ScorePath | undefined {
  const steps: ScoreStep[] = [];
  for (let current = logits; ;) {
    if (current.op.kind === 'contract') return { scores: current, steps };
    if (current.op.kind !== 'map') return undefined;
    const { type, inputs } = current;
    const [only, ...more] = inputs.filter(
      (x) => x.type.axes.length === type.axes.length && x.type.axes.some((a) => a.name === axis) && leadsToContract(x),
    );
    if (only === undefined || more.length > 0) return undefined;
    steps.push(stepOf(current, only));
    current = only;
  }
}

function stepOf(node: Node, score: Node): ScoreStep {
  const [a, b, c] = node.inputs;
  const other = a === score ? b : a;
  const constant = other === undefined ? undefined : scalarValue(other);
  switch (node.op.name) {
    case 'cast':
      return isFloat(node.type.dtype) && isFloat(score.type.dtype) ? { kind: 'cast', node } : { kind: 'other', node };
    case 'mul':
      return constant === undefined ? { kind: 'other', node } : { kind: 'scale', node, by: constant };
    case 'div':
      return a === score && constant !== undefined
        ? { kind: 'scale', node, by: 1 / constant }
        : { kind: 'other', node };
    case 'add':
      return other === undefined ? { kind: 'other', node } : { kind: 'add', node, bias: other };
    case 'where': {
      const keeps = b === score;
      const low = keeps ? c : b;
      const value = low === undefined ? undefined : scalarValue(low);
      return a === undefined || value === undefined
        ? { kind: 'other', node }
        : { kind: 'mask', node, mask: a, keeps, low: value };
    }
    default:
      return { kind: 'other', node };
  }
}

/** True for a product, and for maps of one. */
export function leadsToContract(node: Node, seen = new Set<Node>()): boolean {
  if (node.op.kind === 'contract') return true;
  if (node.op.kind !== 'map' || seen.has(node)) return false;
  seen.add(node);
  return node.inputs.some((x) => leadsToContract(x, seen));
}
