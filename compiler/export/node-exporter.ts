// One node of our graph as ONNX operators, by kind.
import { scalarValue } from '../rewrite/rules.ts';
import { namesOf } from '../../dsl/axis/axes.ts';
import { axisOf, sizeBound, sizeLeast, subtractSizes, type Axis, type Size } from '../../dsl/axis/axis.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { reducedAxes, describe, type Node } from '../../dsl/graph/graph.ts';
import type { ReduceOp, MapOp, ViewOp } from '../../dsl/graph/op.ts';
import { roles } from '../../dsl/ops/contract.ts';
import { rearrange } from '../../dsl/ops/view.ts';
import { castTo, choose, exactMaps, mapRow, roundBf16, wrap } from './maps.ts';
import { exportScatter, exportSort } from './scatter-sort.ts';
import { Permutations, type Reorder, type Value } from './ordered-tensor.ts';
import { viewAlongAxis } from './view-along-axis.ts';
import { Element, type Writer } from './writer.ts';
import { alongAxis } from '../../dsl/graph/attributes.ts';
import { valuesOf } from '../../dsl/ops/source.ts';

/** The error of a node that has no form in ONNX. */
export function cannotExport(node: Node, why: string): OpabiniaError {
  return new OpabiniaError(`cannot be exported to ONNX: ${why}\n  ${describe(node)}`, {
    op: node.op.name,
    path: node.origin.path,
    place: node.origin.place,
    advice: 'compute it outside of the exported graph',
  });
}

export class NodeExporter {
  readonly writer: Writer;
  readonly permutations: Permutations;
  readonly #known = new Map<Node, Value>();
  readonly #made = new Map<string, string>();
  readonly #produce: (node: Node) => void;

  /** `produce` is asked for a node that a reader needs and that was not lowered yet; it must `set` it. */
  constructor(writer: Writer, produce: (node: Node) => void, stored?: Reorder) {
    this.writer = writer;
    this.permutations = new Permutations(writer, stored);
    this.#produce = produce;
  }

  value(node: Node): Value {
    if (!this.#known.has(node)) this.#produce(node);
    const known = this.#known.get(node);
    if (known === undefined) throw new TypeError(`${describe(node)} was used before it was exported`);
    return known;
  }

  /** A tensor that several readers share, made by the first. */
  once(key: string, make: () => string): string {
    const known = this.#made.get(key);
    if (known !== undefined) return known;
    const made = make();
    this.#made.set(key, made);
    return made;
  }

  has(node: Node): boolean {
    return this.#known.has(node);
  }

  set(node: Node, value: Value): void {
    this.#known.set(node, value);
  }

  /** The node's tensor with its axes in the declared order. */
  declared(node: Node): string {
    return this.permutations.inOrder(this.value(node), namesOf(node.type.axes)).tensor;
  }

  /** Any node but a source; its operands were lowered before. */
  lower(node: Node): Value {
    const { op } = node;
    switch (op.kind) {
      case 'source':
        throw new TypeError('sources are written by the exporter');
      case 'map':
        return this.#map(node, op);
      case 'reduce':
        return this.#reduction(node, op);
      case 'view':
        return this.#view(node, op);
      case 'join':
        return this.#join(node);
      case 'gather':
        return this.#gather(node);
      case 'scatter':
        return this.#rounded(node, this.#scatter(node));
      case 'sort':
        return this.#sort(node);
      case 'contract':
        return this.#rounded(node, this.#contract(node));
      default:
        return op satisfies never;
    }
  }

  #rounded(node: Node, value: Value): Value {
    return node.type.dtype === 'bf16' ? { ...value, tensor: roundBf16(this.writer, value.tensor) } : value;
  }

  #operand(node: Node, i: number): Node {
    const input = node.inputs[i];
    if (input === undefined) throw cannotExport(node, `operand ${i + 1} is missing`);
    return input;
  }

  // ---- maps and reductions --------------------------------------------------------------------------------------------

  #map(node: Node, op: MapOp): Value {
    const row = mapRow(op.name);
    if (row === undefined) throw cannotExport(node, 'this function has no ONNX operators');
    const seen = this.#seenThrough(node);
    const widest = seen.map((input) => this.value(input)).reduce((a, b) => (b.axes.length > a.axes.length ? b : a));
    const order = [...widest.axes, ...node.type.axes.filter((axis) => axisOf(widest.axes, axis.name) === undefined)];
    const x = seen.map((input) => this.permutations.aligned(this.value(input), namesOf(order)));
    const tensor = row({
      writer: this.writer,
      x,
      from: node.inputs.map((input) => input.type.dtype),
      to: node.type.dtype,
      attrs: node.attrs,
      known: (i) => (seen[i] === undefined ? undefined : scalarValue(seen[i])),
    });
    const value = { tensor, axes: order };
    return exactMaps.has(op.name) ? value : this.#rounded(node, value);
  }

  /** The operands of a map without the broadcasts that the operator does by itself. */
  #seenThrough(node: Node): readonly Node[] {
    const inner = node.inputs.map((input) => {
      let seen = input;
      while (seen.op.name === 'broadcast' && seen.inputs[0] !== undefined) seen = seen.inputs[0];
      return seen;
    });
    for (const axis of node.type.axes) {
      if (inner.some((seen) => axisOf(seen.type.axes, axis.name) !== undefined)) continue;
      // The result has the shape of its operands together: an axis that is only broadcast must be written out once.
      const place = node.inputs.findIndex((input) => axisOf(input.type.axes, axis.name) !== undefined);
      const whole = node.inputs[place];
      if (whole !== undefined) inner[place] = whole;
    }
    return inner;
  }

  #reduction(node: Node, op: ReduceOp): Value {
    const input = this.#operand(node, 0);
    const x = this.value(input);
    const gone = reducedAxes(node);
    const axes = x.axes.filter((axis) => !gone.includes(axis.name));
    if (gone.length === 0) return x;
    const where = this.writer.ints(x.axes.flatMap((axis, i) => (gone.includes(axis.name) ? [i] : [])));
    const reduce = (name: string, from: string): string => this.writer.emit(name, [from, where], { keepdims: 0n });
    switch (op.name) {
      case 'sum': {
        if (node.type.dtype !== 'f16')
          return this.#rounded(node, {
            tensor: wrap(this.writer, reduce('ReduceSum', x.tensor), node.type.dtype),
            axes,
          });
        // Sums accumulate in f32, whatever the storage.
        return {
          tensor: castTo(
            this.writer,
            reduce('ReduceSum', castTo(this.writer, x.tensor, Element.FLOAT)),
            Element.FLOAT16,
          ),
          axes,
        };
      }
      case 'reduceMax':
        return { tensor: this.#extreme(node, (from) => reduce('ReduceMax', from), x.tensor), axes };
      case 'reduceMin':
        return { tensor: this.#extreme(node, (from) => reduce('ReduceMin', from), x.tensor), axes };
      default:
        throw cannotExport(node, 'this reduction has no ONNX operator');
    }
  }

  /** The largest or smallest of u32, moved into i32 and back: as with Min, int64 would be compared by low halves. */
  #extreme(node: Node, reduce: (x: string) => string, x: string): string {
    if (node.type.dtype !== 'u32') return reduce(x);
    const half = this.writer.int(2 ** 31);
    const low = castTo(this.writer, this.writer.emit('Sub', [x, half]), Element.INT32);
    return this.writer.emit('Add', [castTo(this.writer, reduce(low), Element.INT64), half]);
  }

  // ---- views -----------------------------------------------------------------------------------------------------

  #view(node: Node, op: ViewOp): Value {
    const input = this.#operand(node, 0);
    const x = this.value(input);
    switch (op.name) {
      case 'rearrange':
        return this.#rearrange(node, input, x);
      case 'broadcast':
        return this.#broadcast(node, x);
      case 'slice':
      case 'flip':
      case 'pad':
      case 'window':
        return viewAlongAxis(this.writer, node, input, x);
      default:
        throw cannotExport(node, 'this view has no ONNX operators');
    }
  }

  #rearrange(node: Node, input: Node, x: Value): Value {
    const { split, merge, sizes } = rearrange.read(node.attrs);
    const partsOf = new Map(input.type.axes.map((axis, i) => [axis.name, split[i] ?? []]));
    const parts = x.axes
      .flatMap((axis) => partsOf.get(axis.name) ?? [])
      .map((name): Axis => ({ name, size: sizes[name] ?? 1 }));
    const whole = x.axes.every((axis) => partsOf.get(axis.name)?.length === 1);
    const merged = new Map(merge.map((group) => [group.parts[0], group.name]));
    if (merge.every((group) => group.parts.length === 1)) {
      const tensor = whole
        ? x.tensor
        : this.writer.reshape(
            x.tensor,
            parts.map((part) => [part.size]),
          );
      return { tensor, axes: parts.map((part) => ({ name: merged.get(part.name) ?? part.name, size: part.size })) };
    }
    const apart: Value = { tensor: '', axes: parts };
    const order = merge.flatMap((group) => group.parts);
    const still = order.every((name, i) => parts[i]?.name === name);
    const flat = still
      ? x.tensor
      : this.permutations.inOrder(
          {
            ...apart,
            tensor: whole
              ? x.tensor
              : this.writer.reshape(
                  x.tensor,
                  parts.map((part) => [part.size]),
                ),
          },
          order,
        ).tensor;
    return {
      tensor: this.writer.reshape(
        flat,
        merge.map((group) => group.parts.map((part) => sizes[part] ?? 1)),
      ),
      axes: node.type.axes,
    };
  }

  #broadcast(node: Node, x: Value): Value {
    const names = namesOf(node.type.axes);
    const thin = this.permutations.aligned(x, names, true);
    return {
      tensor: this.writer.emit('Expand', [thin, this.writer.sizes(node.type.axes.map((axis) => axis.size))]),
      axes: node.type.axes,
    };
  }

  // ---- joins and gathers -----------------------------------------------------------------------------------------

  #join(node: Node): Value {
    const name = alongAxis(node);
    const order = namesOf(this.value(this.#operand(node, 0)).axes);
    const parts = node.inputs.map((input) => this.permutations.inOrder(this.value(input), order).tensor);
    return {
      tensor: this.writer.emit('Concat', parts, { axis: BigInt(order.indexOf(name)) }),
      axes: order.flatMap((axis) => axisOf(node.type.axes, axis) ?? []),
    };
  }

  #gather(node: Node): Value {
    const [table, index] = [this.#operand(node, 0), this.#operand(node, 1)];
    const name = alongAxis(node);
    const { writer, permutations } = this;
    const x = this.value(table);
    const position = this.value(index);
    const last = subtractSizes(axisOf(table.type.axes, name)?.size ?? 0, 1);
    const clamped = this.#clamped(index, position.tensor, last);
    const batch = x.axes.filter((axis) => axisOf(position.axes, axis.name) !== undefined);
    if (batch.length === 0) {
      const place = x.axes.findIndex((axis) => axis.name === name);
      return {
        tensor: writer.emit('Gather', [x.tensor, clamped], { axis: BigInt(place) }),
        axes: [...x.axes.slice(0, place), ...position.axes, ...x.axes.slice(place + 1)],
      };
    }
    const shared = namesOf(batch);
    const rest = x.axes.filter((axis) => axis.name !== name && !shared.includes(axis.name));
    const own = position.axes.filter((axis) => !shared.includes(axis.name));
    const rows = permutations.inOrder(x, [...shared, name, ...namesOf(rest)]).tensor;
    const places = permutations.inOrder({ tensor: clamped, axes: position.axes }, [...shared, ...namesOf(own)]).tensor;
    const tuples = writer.emit('Unsqueeze', [places, writer.ints([position.axes.length])]);
    return {
      tensor: writer.emit('GatherND', [rows, tuples], { batch_dims: BigInt(batch.length) }),
      axes: [...batch, ...own, ...rest],
    };
  }

  /** Positions brought into 0 … last, as int64. */
  #scatter(node: Node): Value {
    const [updates, index] = [this.#operand(node, 0), this.#operand(node, 1)];
    const last = subtractSizes(axisOf(node.type.axes, alongAxis(node))?.size ?? 0, 1);
    const positions = this.value(index);
    const clamped = this.#clamped(index, positions.tensor, last);
    return exportScatter(this, node, this.value(updates), { tensor: clamped, axes: positions.axes });
  }

  #sort(node: Node): Value {
    const x = this.#operand(node, 0);
    return exportSort(this, node, x, this.value(x));
  }

  #clamped(index: Node, positions: string, last: Size): string {
    const { writer } = this;
    const values = valuesOf(index);
    const wide = (x: string): string => (index.type.dtype === 'u32' ? x : castTo(writer, x, Element.INT64));
    const most = typeof last === 'number' ? last : sizeLeast(last);
    const inside =
      values !== undefined
        ? values.every((value) => value >= 0 && value <= most)
        : index.op.name === 'iota' && sizeBound(index.type.axes[0]?.size ?? 0) <= most + 1;
    if (inside) return wide(positions);
    const bounded = choose(writer, 'Less', [wide(positions), writer.scalarSize(last)]);
    return index.type.dtype === 'u32' ? bounded : choose(writer, 'Greater', [bounded, writer.int(0)]);
  }

  // ---- contractions ----------------------------------------------------------------------------------------------

  #contract(node: Node): Value {
    const [a, b] = [this.#operand(node, 0), this.#operand(node, 1)];
    const { batch, rows, columns, sum } = roles(a.type, b.type, node.type);
    const { writer, permutations } = this;
    const [left, right] = [this.value(a), this.value(b)];
    const inOwn = (value: Value, axes: readonly Axis[]): readonly Axis[] =>
      value.axes.filter((axis) => axisOf(axes, axis.name) !== undefined);
    if (sum.length === 0) {
      const axes = [...left.axes, ...right.axes.filter((axis) => axisOf(left.axes, axis.name) === undefined)];
      return {
        tensor: writer.emit('Mul', [
          permutations.aligned(left, namesOf(axes)),
          permutations.aligned(right, namesOf(axes)),
        ]),
        axes,
      };
    }
    // The operand whose own axes come last in the result is the second of the product.
    const last = node.type.axes.at(-1);
    const swapped = last !== undefined && axisOf(rows, last.name) !== undefined && columns.length > 0;
    const [first, second, m, n] = swapped ? [right, left, columns, rows] : [left, right, rows, columns];
    const [batchAxes, rowAxes, columnAxes, summed] = [
      inOwn(first, batch),
      inOwn(first, m),
      inOwn(second, n),
      inOwn(second, sum),
    ];
    const each = (axes: readonly Axis[]): readonly (readonly Axis[])[] => axes.map((axis) => [axis]);
    // Without batch axes, rows of several axes need no merging: the second operand is a matrix for all of them.
    // In f16, ONNX Runtime 1.30 crashes on a Transpose of three axes and more in front of a MatMul with a constant: merged rows keep the two apart.
    const moved = [...rowAxes, ...summed].some((axis, i) => axis !== first.axes[i]);
    const rowGroups =
      batchAxes.length === 0 && rowAxes.length > 0 && !(node.type.dtype === 'f16' && moved) ? each(rowAxes) : [rowAxes];
    const x = permutations.grouped(first, [...each(batchAxes), ...rowGroups, summed]);
    const y = permutations.grouped(second, [...each(batchAxes), summed, columnAxes]);
    const product = writer.emit('MatMul', [x, y]);
    const axes = [...batchAxes, ...rowAxes, ...columnAxes];
    const flat =
      rowGroups.length + batchAxes.length + 1 === axes.length &&
      rowGroups.every((group) => group.length === 1) &&
      columnAxes.length === 1;
    return {
      tensor: flat
        ? product
        : writer.reshape(
            product,
            axes.map((axis) => [axis.size]),
          ),
      axes,
    };
  }
}
