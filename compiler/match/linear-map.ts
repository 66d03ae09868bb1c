// A contraction seen as activations times weights, for the rules that move work to the weights.
import { renaming } from './renaming.ts';
import { namesOf, sameAxes } from '../../dsl/axis/axes.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { roles, type Roles } from '../../dsl/ops/contract.ts';
import { isFloat } from '../../dsl/graph/op.ts';
import { isFixed, isUnpacked } from '../rewrite/fixed.ts';
import { type Rewriter } from '../rewrite/rewriter.ts';

export interface LinearMap {
  readonly node: Node;
  /** Changes from run to run. */
  readonly x: Node;
  /** Depends on parameters and constants only. */
  readonly weights: Node;
  /** Rows belong to x, columns to the weights. */
  readonly roles: Roles;
}

/** The contraction as a linear map, if exactly one operand is fixed. */
export function asLinearMap(node: Node): LinearMap | undefined {
  const [a, b] = node.inputs;
  if (node.op.kind !== 'contract' || a === undefined || b === undefined) return undefined;
  const [fixedA, fixedB] = [isFixed(a), isFixed(b)];
  if (fixedA === fixedB) return undefined;
  const [x, weights] = fixedB ? [a, b] : [b, a];
  return { node, x, weights, roles: roles(x.type, weights.type, node.type) };
}

/** The contraction as a linear map, if one operand is a quantized weight and the other is not fixed. */
export function asUnpackedMap(node: Node): LinearMap | undefined {
  const [a, b] = node.inputs;
  if (node.op.kind !== 'contract' || a === undefined || b === undefined) return undefined;
  const [codedA, codedB] = [isUnpacked(a), isUnpacked(b)];
  if (codedA === codedB) return undefined;
  const [x, weights] = codedB ? [a, b] : [b, a];
  return isFixed(x) ? undefined : { node, x, weights, roles: roles(x.type, weights.type, node.type) };
}

/** A product and the fixed vector along its column that is added to it and to nothing else. */
export interface Biased {
  readonly bias: Node | undefined;
  /** The product, or the sum with its bias. */
  readonly end: Node;
}

/** `leaves`: what must stay as it is, for others than nodes read it. */
export function withBias(
  product: Node,
  column: string,
  readers: ReadonlyMap<Node, readonly Node[]>,
  leaves: ReadonlySet<Node>,
): Biased {
  const [reader, ...others] = readers.get(product) ?? [];
  const bias =
    reader?.op.name === 'add' && others.length === 0 && !leaves.has(product)
      ? reader.inputs.find((input) => input !== product)
      : undefined;
  const isAlong =
    bias !== undefined && isFixed(bias) && bias.type.axes.length === 1 && bias.type.axes[0]?.name === column;
  return reader === undefined || !isAlong || leaves.has(reader) || !sameAxes(reader.type.axes, product.type.axes)
    ? { bias: undefined, end: product }
    : { bias, end: reader };
}

/** The same contraction of other operands, with the same output axes. */
export function ofOperands(product: LinearMap, x: Node, weights: Node, r: Rewriter): Node {
  return r.contract(x, weights, namesOf(product.node.type.axes));
}

/** An operand seen through casts between floats and renamings, which a rule makes again of the parts it takes it into. */
export interface Peeled {
  readonly inner: Node;
  /** The name that an axis of `inner` has in the operand. */
  outer(name: string): string;
  /** A node with axes of `inner` (all or some) as the operand would show it. */
  again(x: Node): Node;
}

/** Takes renamings off an operand, and with `casts` also casts between floats. */
export function peel(node: Node, r: Rewriter, casts: boolean): Peeled {
  const [x] = node.inputs;
  const names = renaming(node);
  if (x !== undefined && names !== undefined) {
    const below = peel(x, r, casts);
    const outer = (name: string): string => names.get(below.outer(name)) ?? name;
    return {
      inner: below.inner,
      outer,
      again(y) {
        const shown = below.again(y);
        const own = namesOf(shown.type.axes);
        return r.relabel(
          shown,
          own,
          own.map((name) => names.get(name) ?? name),
        );
      },
    };
  }
  if (
    casts &&
    x !== undefined &&
    node.op.kind === 'map' &&
    node.op.converts &&
    isFloat(x.type.dtype) &&
    isFloat(node.type.dtype)
  ) {
    const below = peel(x, r, casts);
    return {
      inner: below.inner,
      outer: below.outer,
      again(y) {
        const shown = below.again(y);
        return shown.type.dtype === node.type.dtype ? shown : r.make(node.op, [shown], node.attrs);
      },
    };
  }
  return { inner: node, outer: (name) => name, again: (y) => y };
}
