// What a rule builds with: nodes that keep the origin of the node being rewritten, and shorthands for views.
import { sameAxes } from '../../dsl/axis/axes.ts';
import { axisOf, sizesEqual, type Axis, type Size } from '../../dsl/axis/axis.ts';
import { inferType, type Builder, type Node, type Origin } from '../../dsl/graph/graph.ts';
import { Refusal, type Attrs, type DType, type Op, type TensorType } from '../../dsl/graph/op.ts';
import { contract } from '../../dsl/ops/contract.ts';
import { concat } from '../../dsl/ops/join.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { constant, typeAttrs } from '../../dsl/ops/source.ts';
import { broadcast, rearrange, slice } from '../../dsl/ops/view.ts';
import { choicesOf, type Choices } from '../profile.ts';

/** Who reads a node, at the beginning of a pass. */
export interface Uses {
  readers(node: Node): readonly Node[];
  leaves(node: Node): boolean;
}

const unused: Uses = { readers: () => [], leaves: () => false };

export class Rewriter {
  readonly builder: Builder;
  readonly origin: Origin;
  /** Where rules begin to pay on the device that is compiled for. */
  readonly choices: Choices;
  readonly #uses: Uses;

  constructor(builder: Builder, origin: Origin, uses: Uses = unused, choices: Choices = choicesOf(undefined)) {
    this.builder = builder;
    this.origin = origin;
    this.choices = choices;
    this.#uses = uses;
  }

  /**
   * The nodes that read this one, as they were when the pass began; for a node that a rule has just made, none.
   * Good enough to judge whether a rule pays, never to judge whether it is sound.
   */
  readers(node: Node): readonly Node[] {
    return this.#uses.readers(node);
  }

  /** True when the node is an output of the graph or written to a state. */
  leaves(node: Node): boolean {
    return this.#uses.leaves(node);
  }

  make(op: Op, inputs: readonly Node[], attrs: Attrs = {}): Node {
    return this.builder.make(op, inputs, attrs, this.origin);
  }

  /** A scalar function by name. */
  map(name: string, ...operands: readonly Node[]): Node {
    return this.make(mapOp(name), operands);
  }

  scalar(value: number, dtype: DType): Node {
    return this.make(constant, [], { ...typeAttrs([], dtype), values: Float64Array.of(value) });
  }

  /** `x` with exactly these axes in this order; `x` itself when it has them already. */
  broadcast(x: Node, axes: readonly Axis[]): Node {
    return sameAxes(x.type.axes, axes)
      ? x
      : this.make(broadcast, [x], { axes: axes.map(({ name, size }) => ({ name, size })) });
  }

  /** A range of one axis; `x` itself when the range is everything. */
  slice(x: Node, axis: string, start: Size, size: Size, step = 1): Node {
    const whole = axisOf(x.type.axes, axis);
    if (whole !== undefined && step === 1 && start === 0 && sizesEqual(whole.size, size)) return x;
    return this.make(slice, [x], { axis, start, size, step });
  }

  /** The axes permuted and renamed: output axis i is the input axis `from[i]` under the name `to[i]`. */
  relabel(x: Node, from: readonly string[], to: readonly string[] = from): Node {
    if (x.type.axes.every((axis, i) => axis.name === from[i] && axis.name === to[i])) return x;
    return this.make(rearrange, [x], {
      split: x.type.axes.map((axis) => [axis.name]),
      merge: from.map((name, i) => ({ name: to[i] ?? name, parts: [name] })),
      sizes: Object.fromEntries(x.type.axes.map((axis) => [axis.name, axis.size])),
    });
  }

  concat(parts: readonly Node[], axis: string): Node {
    const [only] = parts;
    return only !== undefined && parts.length === 1 ? only : this.make(concat, parts, { axis });
  }

  contract(a: Node, b: Node, axes: readonly string[]): Node {
    return this.make(contract, [a, b], { axes });
  }

  /** The node of this op, if its shape rule gives exactly `type`; undefined where it refuses or gives another. */
  makeTyped(type: TensorType, op: Op, inputs: readonly Node[], attrs: Attrs = {}): Node | undefined {
    const inferred = inferType(
      op,
      inputs.map((node) => node.type),
      attrs,
    );
    return inferred instanceof Refusal || !sameType(inferred, type) ? undefined : this.make(op, inputs, attrs);
  }

  /** `x` in the place of a node of type `type`: widened where it has fewer axes. */
  standIn(x: Node, type: TensorType): Node | undefined {
    return x.type.dtype === type.dtype ? this.broadcast(x, type.axes) : undefined;
  }
}

export function sameType(a: TensorType, b: TensorType): boolean {
  return a.dtype === b.dtype && sameAxes(a.axes, b.axes);
}
