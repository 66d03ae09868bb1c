// Views that change one axis, as ONNX operators: reversed, a range, padded, windows.
import { addSizes, axisOf, multiplySizes, sizesEqual, type Axis, type Size } from '../../dsl/axis/axis.ts';
import { alongAxis } from '../../dsl/graph/attributes.ts';
import type { Node } from '../../dsl/graph/graph.ts';
import { pad, slice, window } from '../../dsl/ops/view.ts';
import { elementOf } from './maps.ts';
import type { Value } from './ordered-tensor.ts';
import { Element, type Writer } from './writer.ts';

/** A view that changes one axis. */
export function viewAlongAxis(writer: Writer, node: Node, input: Node, x: Value): Value {
  const name = alongAxis(node);
  const place = x.axes.findIndex((axis) => axis.name === name);
  const size = axisOf(input.type.axes, name)?.size ?? 0;
  const resized = (to: Size): readonly Axis[] => x.axes.map((axis) => (axis.name === name ? { name, size: to } : axis));
  switch (node.op.name) {
    case 'flip': {
      const tensor = writer.emit('Slice', [
        x.tensor,
        writer.ints([-1]),
        writer.ints([-2147483648]),
        writer.ints([place]),
        writer.ints([-1]),
      ]);
      return { tensor, axes: x.axes };
    }
    case 'slice': {
      const taken = slice.read(node.attrs);
      return {
        tensor: sliceOf(writer, x, place, taken.start, taken.size, taken.step),
        axes: resized(taken.size),
      };
    }
    case 'pad': {
      const { before, after, value: outside } = pad.read(node.attrs);
      const value = writer.constant(elementOf[node.type.dtype], [], [outside]);
      // Of all axes: the input that names some of them is read wrongly once ONNX Runtime moves a Transpose past the Pad.
      const pads = [before, after].flatMap((width) => x.axes.map((axis) => (axis.name === name ? width : 0)));
      const tensor = writer.emit('Pad', [x.tensor, writer.sizes(pads), value]);
      return { tensor, axes: resized(addSizes(addSizes(before, size), after)) };
    }
    default:
      return windowsOf(writer, node, x, place, size);
  }
}

/** `count` elements of the axis at `place`, every step-th from `start`. */
export function sliceOf(writer: Writer, x: Value, place: number, start: Size, count: Size, step = 1): string {
  if (step === 1 && start === 0 && sizesEqual(count, x.axes[place]?.size ?? -1)) return x.tensor;
  const end = addSizes(start, multiplySizes(step, count));
  return writer.emit('Slice', [
    x.tensor,
    writer.size(start),
    writer.size(end),
    writer.ints([place]),
    ...(step === 1 ? [] : [writer.ints([step])]),
  ]);
}

function windowsOf(writer: Writer, node: Node, x: Value, place: number, size: Size): Value {
  const {
    into: [outer, inner],
    size: width,
    stride,
    dilation,
  } = window.read(node.attrs);
  const steps = axisOf(node.type.axes, outer)?.size ?? 0;
  const axes = x.axes.flatMap((axis, i): readonly Axis[] =>
    i === place
      ? [
          { name: outer, size: steps },
          { name: inner, size: width },
        ]
      : [axis],
  );
  // Windows that lie side by side are a reshape; others read their elements by position.
  if (dilation === 1 && stride === width) {
    const covered = multiplySizes(width, steps);
    const tensor = sizesEqual(covered, size) ? x.tensor : sliceOf(writer, x, place, 0, covered);
    return {
      tensor: writer.reshape(
        tensor,
        axes.map((axis) => [axis.size]),
      ),
      axes,
    };
  }
  const inside = Array.from({ length: width }, (_, i) => i * dilation);
  const positions =
    typeof steps === 'number'
      ? writer.constant(
          Element.INT64,
          [steps, width],
          Array.from({ length: steps * width }, (_, i) => Math.floor(i / width) * stride + (inside[i % width] ?? 0)),
        )
      : writer.emit('Add', [
          writer.emit('Unsqueeze', [
            writer.emit('Mul', [
              writer.emit('Range', [writer.int(0), writer.scalarSize(steps), writer.int(1)]),
              writer.int(stride),
            ]),
            writer.ints([1]),
          ]),
          writer.ints(inside),
        ]);
  return { tensor: writer.emit('Gather', [x.tensor, positions], { axis: BigInt(place) }), axes };
}
