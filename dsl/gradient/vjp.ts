// Vector-Jacobian products, one a kind: what the gradient of a node's value is for its operands.
import { addSizes, axisOf, type Size } from '../axis/axis.ts';
import { product } from '../functions/shape.ts';
import type { Node } from '../graph/graph.ts';
import type { Attrs, TensorType, ViewOp } from '../graph/op.ts';
import { gather } from '../ops/gather.ts';
import { scatter } from '../ops/scatter.ts';
import { slice } from '../ops/view.ts';
import type { BackwardMath } from './backward-math.ts';
import { windowedProduct } from './windowed-product.ts';

/** The gradient for operand i; undefined where it is zero everywhere. */
export type Contribution = Node | undefined;

/** The op has no gradient rule. */
export const noRule = Symbol('no gradient rule');

/**
 * What `dy`, the gradient of `y`, is for each operand of `y`, on that operand's axes. `wanted` says for which operands it is asked;
 * the others may be left out.
 */
export function vjp(
  math: BackwardMath,
  y: Node,
  dy: Node,
  wanted: (operand: number) => boolean,
): readonly Contribution[] | typeof noRule {
  const { op, inputs, attrs } = y;
  const [a, b] = inputs;
  switch (op.kind) {
    case 'source':
      return [];
    case 'map': {
      const parts = op.grad?.(math, dy, y, inputs);
      return parts?.map((part, i) => part && math.narrowed(part, inputs[i]?.type.axes ?? [])) ?? noRule;
    }
    case 'reduce': {
      if (a === undefined) return [];
      const part = op.grad?.(math, dy, y, a, op.read(attrs).axes);
      return part === undefined ? noRule : [math.widened(part, a.type.axes)];
    }
    case 'view':
      return a === undefined ? [] : [math.narrowed(transposed(math, op, dy, attrs, a.type), a.type.axes)];
    case 'join':
      return kindRules.join(math, dy, inputs, op.read(attrs).axis);
    case 'gather':
      return a === undefined || b === undefined ? [] : [kindRules.gather(math, dy, a, b, op.read(attrs).axis)];
    case 'scatter':
      return a === undefined || b === undefined ? [] : [kindRules.scatter(math, dy, a, b, op.read(attrs).axis)];
    case 'sort':
      return [];
    case 'contract':
      return a === undefined || b === undefined
        ? []
        : [
            wanted(0) ? kindRules.contract(math, dy, b, a) : undefined,
            wanted(1) ? kindRules.contract(math, dy, a, b) : undefined,
          ];
    default:
      return op satisfies never;
  }
}

function transposed(math: BackwardMath, op: ViewOp, dy: Node, attrs: Attrs, x: TensorType): Node {
  const product = op.shows === 'windows' ? windowedProduct(math, dy, attrs, x) : undefined;
  return product ?? op.transpose(math, dy, attrs, x);
}

/** Each part of a concatenation reads its own range. */
function parts(math: BackwardMath, dy: Node, inputs: readonly Node[], axis: string): readonly Node[] {
  let start: Size = 0;
  return inputs.map((input) => {
    const size = axisOf(input.type.axes, axis)?.size ?? 0;
    const part = math.view(slice, dy, { axis, start, size, step: 1 });
    start = addSizes(start, size);
    return part;
  });
}

/** d(a·b)/da = dy·b, summed over what `a` has not. */
function times(math: BackwardMath, dy: Node, other: Node, operand: Node): Node {
  const names = operand.type.axes.map((axis) => axis.name);
  return product('gradients', math.tensor(dy), math.tensor(other), names).node;
}

/** Row r of the table gets the sum of the results that read it. */
function readersSummed(math: BackwardMath, dy: Node, table: Node, index: Node, axis: string): Node {
  const size = axisOf(table.type.axes, axis)?.size ?? 0;
  return math.make(scatter, [dy, index], { axis, size, axes: table.type.axes.map((a) => a.name) });
}

/** Every element gets the gradient of the sum that it went into. */
function sumsRead(math: BackwardMath, dy: Node, updates: Node, index: Node, axis: string): Node {
  return math.narrowed(math.make(gather, [dy, index], { axis }), updates.type.axes);
}

/** Rules of the kinds of which no op has one of its own. */
export const kindRules = { join: parts, gather: readersSummed, scatter: sumsRead, contract: times };
