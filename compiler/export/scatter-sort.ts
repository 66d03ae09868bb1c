// Scatters and sorts as ONNX operators.
import { namesOf } from '../../dsl/axis/axes.ts';
import { axisOf } from '../../dsl/axis/axis.ts';
import { alongAxis } from '../../dsl/graph/attributes.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { axesAmong, scatterRoles } from '../../dsl/ops/scatter.ts';
import { sort } from '../../dsl/ops/sort.ts';
import { castTo, elementOf, wrap } from './maps.ts';
import { type Value, type Permutations } from './ordered-tensor.ts';
import { Element, type Writer } from './writer.ts';

/** What an operator is written with. */
export interface Order {
  readonly writer: Writer;
  readonly permutations: Permutations;
}

/** ScatterElements on three axes: those kept, those summed, and what one position moves. `positions` lie inside the axis. */
export function exportScatter({ writer, permutations }: Order, node: Node, updates: Value, positions: Value): Value {
  const name = alongAxis(node);
  const { summed, rest } = scatterRoles({ axes: positions.axes }, node.type, name);
  const kept = axesAmong(positions.axes, node.type.axes);
  const along = axisOf(node.type.axes, name) ?? { name, size: 0 };
  const { dtype } = node.type;
  const element = dtype === 'f16' ? Element.FLOAT : elementOf[dtype];
  const merged = writer.reshape(
    permutations.inOrder(updates, namesOf([...kept, ...summed, ...rest])).tensor,
    [kept, summed, rest].map((axes) => axes.map((axis) => axis.size)),
  );
  const terms = dtype === 'f16' ? castTo(writer, merged, element) : merged;
  const flat = writer.reshape(
    permutations.inOrder(positions, namesOf([...kept, ...summed])).tensor,
    [kept, summed, []].map((axes) => axes.map((axis) => axis.size)),
  );
  const shape = writer.emit('Shape', [terms]);
  const wide = writer.emit('Expand', [flat, shape]);
  const part = (i: number): string => writer.emit('Gather', [shape, writer.ints([i])], { axis: 0n });
  const target = writer.emit('Concat', [part(0), writer.size(along.size), part(2)], { axis: 0n });
  const zeros = writer.emit('Expand', [writer.constant(element, [], [0]), target]);
  const sums = writer.emit('ScatterElements', [zeros, wide, terms], { axis: 1n, reduction: 'add' });
  const axes = [...kept, along, ...rest];
  const whole = writer.reshape(
    dtype === 'f16' ? castTo(writer, sums, Element.FLOAT16) : wrap(writer, sums, dtype),
    axes.map((axis) => [axis.size]),
  );
  return { tensor: whole, axes };
}

/** TopK, in which the lower of equal elements comes first. ONNX leaves the order of NaN open: it stands with the infinities. */
export function exportSort({ writer }: Order, node: Node, operand: Node, x: Value): Value {
  const name = alongAxis(node);
  const along = axisOf(node.type.axes, name) ?? { name, size: 0 };
  const place = x.axes.findIndex((axis) => axis.name === name);
  const { dtype } = operand.type;
  const isFloat = dtype === 'f32' || dtype === 'f16' || dtype === 'bf16';
  const wide = dtype === 'f16' ? castTo(writer, x.tensor, Element.FLOAT) : x.tensor;
  const numbers = isFloat
    ? writer.emit('Where', [writer.emit('IsNaN', [wide]), writer.constant(Element.FLOAT, [], [Infinity]), wide])
    : wide;
  const [, indices] = writer.emitSeveral('TopK', [numbers, writer.size(along.size)], 2, {
    axis: BigInt(place),
    largest: sort.read(node.attrs).descending ? 1n : 0n,
    sorted: 1n,
  });
  return {
    tensor: castTo(writer, indices ?? '', Element.INT32),
    axes: x.axes.map((axis) => (axis.name === name ? along : axis)),
  };
}
