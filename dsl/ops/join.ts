// Concatenation along one axis (attr `axis`). Stacking is concatenation along a new axis of size 1.
import { addSizes, axisOf, printAxes, sizesEqual, type Axis, type Size } from '../axis/axis.ts';
import { attributes, text } from '../graph/attributes.ts';
import { Refusal, type JoinOp } from '../graph/op.ts';

const read = attributes('concat', { axis: text });

export const concat: JoinOp = {
  kind: 'join',
  read,
  name: 'concat',
  doc: 'tensors laid end to end along one axis',
  infer(inputs, attrs) {
    const name = read(attrs).axis;
    const [first] = inputs;
    if (first === undefined) return new Refusal('needs at least one tensor');
    let total: Size = 0;
    for (const x of inputs) {
      if (x.dtype !== first.dtype)
        return new Refusal(`dtypes differ: ${first.dtype} and ${x.dtype}`, 'cast one of them');
      const axis = axisOf(x.axes, name);
      if (axis === undefined) return new Refusal(`${printAxes(x.axes)} has no axis '${name}'`);
      const same =
        x.axes.length === first.axes.length &&
        x.axes.every(
          (a, i) =>
            a.name === first.axes[i]?.name && (a.name === name || sizesEqual(a.size, first.axes[i]?.size ?? -1)),
        );
      if (!same)
        return new Refusal(
          `${printAxes(first.axes)} and ${printAxes(x.axes)} differ in more than axis '${name}': ${otherDifference(first.axes, x.axes, name)}`,
          'rearrange one of them to the same axes in the same order',
        );
      total = addSizes(total, axis.size);
    }
    return { axes: first.axes.map((a) => (a.name === name ? { name, size: total } : a)), dtype: first.dtype };
  },
};

/** In which axis, besides the joined one, two lists differ. */
function otherDifference(a: readonly Axis[], b: readonly Axis[], joined: string): string {
  const odd = [...a, ...b].find(({ name }) => {
    const [x, y] = [axisOf(a, name), axisOf(b, name)];
    return name !== joined && (x === undefined || y === undefined || !sizesEqual(x.size, y.size));
  });
  return odd === undefined ? 'in their order' : `also in axis '${odd.name}'`;
}
