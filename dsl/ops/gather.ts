// Rows of one tensor at positions held by another: embedding lookup, token selection.
import { axisOf, printAxes, printSize, sizesEqual } from '../axis/axis.ts';
import { attributes, text } from '../graph/attributes.ts';
import { isInteger, Refusal, type GatherOp } from '../graph/op.ts';

const read = attributes('gather', { axis: text });

/** out[i…, rest…] = x[axis = index[i…], rest…]; an axis that both have is a batch axis; positions are clamped into the axis. */
export const gather: GatherOp = {
  kind: 'gather',
  read,
  name: 'gather',
  doc: 'rows of the first operand at the positions in the second',
  infer(x, index, attrs) {
    const name = read(attrs).axis;
    if (axisOf(x.axes, name) === undefined) return new Refusal(`${printAxes(x.axes)} has no axis '${name}'`);
    if (axisOf(index.axes, name) !== undefined)
      return new Refusal(
        `the positions ${printAxes(index.axes)} have the axis '${name}' that is read`,
        'rename it with rearrange',
      );
    if (!isInteger(index.dtype)) return new Refusal(`positions must be i32 or u32, not ${index.dtype}`, 'cast them');
    const clash = x.axes.find((a) => {
      const b = axisOf(index.axes, a.name);
      return b !== undefined && !sizesEqual(a.size, b.size);
    });
    if (clash !== undefined)
      return new Refusal(
        `axis '${clash.name}' is ${printSize(clash.size)} in the tensor and ${printSize(axisOf(index.axes, clash.name)?.size ?? 0)} in the positions`,
        `an axis of both is a batch axis: rename it in the positions if it is not`,
      );
    const rest = x.axes.filter((a) => a.name !== name && axisOf(index.axes, a.name) === undefined);
    return { axes: [...index.axes, ...rest], dtype: x.dtype };
  },
};
