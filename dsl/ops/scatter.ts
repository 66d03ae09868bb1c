// Sums of rows by position: the adjoint of a gather.
import { axisOf, printAxes, printSize, sizeLeast, sizesEqual, type Axis } from '../axis/axis.ts';
import { attributes, names, size, text } from '../graph/attributes.ts';
import { isInteger, Refusal, type ScatterOp } from '../graph/op.ts';

const read = attributes('scatter', { axis: text, size, axes: names });

/**
 * out[axis = r, kept…] = Σ updates[all…] over the elements whose position index[…] is r. Attr `axes`: the axes of the result in order,
 * which are `axis` with `size` elements and axes of the updates; those of the index that are not among them are summed. Positions are
 * clamped into the axis, as gather's are. Each element of the result adds its own terms in the order of the index, in f32 where they are
 * floats: the same bits in every run. Adjoint: dy gathered at the index; none for the positions.
 */
export const scatter: ScatterOp = {
  kind: 'scatter',
  read,
  name: 'scatter',
  doc: 'sums of the first operand by the positions in the second',
  infer(updates, index, attrs) {
    const { axis, size: rows, axes: out } = read(attrs);
    if (updates.dtype === 'bool') return new Refusal('sums numbers, not bool', 'cast them first');
    if (!isInteger(index.dtype)) return new Refusal(`positions must be i32 or u32, not ${index.dtype}`, 'cast them');
    if (axisOf(updates.axes, axis) !== undefined)
      return new Refusal(`${printAxes(updates.axes)} has the axis '${axis}' already`, 'rename it with rearrange');
    const lost = index.axes.find((a) => !sizesEqual(axisOf(updates.axes, a.name)?.size ?? -1, a.size));
    if (lost !== undefined)
      return new Refusal(
        `axis '${lost.name}' of the positions ${printAxes(index.axes)} is not that of ${printAxes(updates.axes)}`,
        'every position belongs to an element: repeat the updates along it',
      );
    if (!out.includes(axis)) return new Refusal(`the result has no axis '${axis}'`);
    if (sizeLeast(rows) < 0) return new Refusal(`the size of axis '${axis}' is ${printSize(rows)}`);
    const stray = updates.axes.find((a) => !out.includes(a.name) && axisOf(index.axes, a.name) === undefined);
    if (stray !== undefined)
      return new Refusal(`axis '${stray.name}' is neither kept nor an axis of the positions`, 'reduce it first');
    const axes: Axis[] = [];
    for (const name of out) {
      const own = name === axis ? { name, size: rows } : axisOf(updates.axes, name);
      if (own === undefined) return new Refusal(`${printAxes(updates.axes)} has no axis '${name}'`);
      if (axes.some((a) => a.name === name)) return new Refusal(`axis '${name}' stands twice`);
      axes.push(own);
    }
    return { axes, dtype: updates.dtype };
  },
};

/** The roles of the axes of a scatter. */
export interface ScatterRoles {
  /** Of the positions, and gone in the result: what is summed. */
  readonly summed: readonly Axis[];
  /** Of the result, and not of the positions: what one position moves as a whole. */
  readonly rest: readonly Axis[];
}

/** Those of `axes` that are also among `others`. */
export function axesAmong(axes: readonly Axis[], others: readonly Axis[]): readonly Axis[] {
  return axes.filter((a) => axisOf(others, a.name) !== undefined);
}

export function scatterRoles(
  index: { readonly axes: readonly Axis[] },
  out: { readonly axes: readonly Axis[] },
  axis: string,
): ScatterRoles {
  return {
    summed: index.axes.filter((a) => axisOf(out.axes, a.name) === undefined),
    rest: out.axes.filter((a) => a.name !== axis && axisOf(index.axes, a.name) === undefined),
  };
}
