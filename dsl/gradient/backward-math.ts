// What gradient rules are written with: nodes at the place in the model of the node whose gradient they are.
import { axisOf, multiplySizes, type Axis, type Size } from '../axis/axis.ts';
import { reduceAxes } from '../functions/shape.ts';
import type { Builder, Node, Origin } from '../graph/graph.ts';
import type { Attrs, DType, GradientMath, Op, ViewOp } from '../graph/op.ts';
import { mapOp } from '../ops/map/index.ts';
import { constant, extent, iota, typeAttrs } from '../ops/source.ts';
import { ordered, Tensor, widened } from '../tensor.ts';

export class BackwardMath implements GradientMath {
  readonly builder: Builder;
  readonly #origin: Origin;

  constructor(builder: Builder, origin: Origin) {
    this.builder = builder;
    this.#origin = origin;
  }

  op(name: string, ...operands: readonly (Node | number | undefined)[]): Node {
    const like = operands.find((x) => typeof x === 'object' && x.type.dtype !== 'bool') as Node | undefined;
    return this.make(
      mapOp(name),
      operands.map((x) => {
        if (x === undefined) throw new TypeError(`the gradient rule gives '${name}' an operand that is missing`);
        return typeof x === 'number' ? this.filled(x, [], like?.type.dtype ?? 'f32') : x;
      }),
    );
  }

  cast(x: Node, dtype: DType): Node {
    return x.type.dtype === dtype ? x : this.make(mapOp('cast'), [x], { to: dtype });
  }

  sum(x: Node, axes: readonly string[]): Node {
    const { dtype } = x.type;
    const wide = dtype === 'f16' || dtype === 'bf16' ? this.cast(x, 'f32') : x;
    return this.cast(reduceAxes('sum', this.tensor(wide), axes, 'gradients').node, dtype);
  }

  first(mask: Node, axes: readonly string[]): Node {
    const along = axes.flatMap((name) => axisOf(mask.type.axes, name) ?? []);
    const [place, count] = along.reduceRight<readonly [Node | undefined, Size]>(
      ([inner, size], axis) => {
        const own = this.make(iota, [], typeAttrs([axis], 'i32'));
        const scaled = size === 1 ? own : this.op('mul', own, this.extent(size));
        const both =
          inner === undefined ? scaled : this.op('add', this.widened(scaled, [axis, ...inner.type.axes]), inner);
        return [both, multiplySizes(size, axis.size)];
      },
      [undefined, 1],
    );
    if (place === undefined) return mask;
    const places = this.widened(place, mask.type.axes);
    const taken = this.op('where', mask, places, this.extent(count));
    const least = reduceAxes('min', this.tensor(taken), axes, 'gradients').node;
    return this.op('and', mask, this.op('eq', places, least));
  }

  /** A size as a whole number of the run. */
  extent(value: Size): Node {
    return typeof value === 'number'
      ? this.filled(value, [], 'i32')
      : this.make(extent, [], { ...typeAttrs([], 'i32'), size: value });
  }

  view(op: ViewOp, x: Node, attrs: Attrs): Node {
    return this.make(op, [x], attrs);
  }

  make(op: Op, inputs: readonly Node[], attrs: Attrs = {}): Node {
    return this.builder.make(op, inputs, attrs, this.#origin);
  }

  /** One number for all elements. */
  filled(value: number, axes: readonly Axis[], dtype: DType): Node {
    const one = this.make(constant, [], { ...typeAttrs([], dtype), values: Float64Array.of(value) });
    return this.widened(one, axes);
  }

  /** Repeated along the axes that it lacks, all in this order. */
  widened(x: Node, axes: readonly Axis[]): Node {
    return widened('gradients', this.tensor(x), axes).node;
  }

  /** The transpose of broadcasting by name: summed over the axes that are not among these, and in their order. */
  narrowed(x: Node, axes: readonly Axis[]): Node {
    const names = x.type.axes.map((axis) => axis.name);
    const summed = this.sum(
      x,
      names.filter((name) => axisOf(axes, name) === undefined),
    );
    return ordered(
      this.tensor(summed),
      axes.map((axis) => axis.name),
    ).node;
  }

  tensor(node: Node): Tensor {
    return new Tensor(this.builder, node);
  }
}
