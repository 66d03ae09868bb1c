// The one product of tensors: einsum of two operands, by axis names.
import { axisOf, printAxes, printSize, sizesEqual, type Axis } from '../axis/axis.ts';
import { attributes, names } from '../graph/attributes.ts';
import { isFloat, Refusal, type ContractOp, type TensorType } from '../graph/op.ts';

const read = attributes('contract', { axes: names });

/**
 * Σ over the axes that both operands have and the output has not (attr `axes`: the output's axes in order).
 * Axes of both operands and the output are batch axes. Sums accumulate in f32, whatever the storage.
 */
export const contract: ContractOp = {
  kind: 'contract',
  read,
  name: 'contract',
  doc: 'product of two tensors, summed over shared axes',
  infer(a, b, attrs) {
    const out = read(attrs).axes;
    if (a.dtype !== b.dtype) return new Refusal(`dtypes differ: ${a.dtype} and ${b.dtype}`, 'cast one of them');
    if (!isFloat(a.dtype)) return new Refusal(`multiplies floats, not ${a.dtype}`);
    for (const axis of a.axes) {
      const other = axisOf(b.axes, axis.name);
      if (other !== undefined && !sizesEqual(axis.size, other.size)) {
        return new Refusal(
          `axis '${axis.name}' is ${printSize(axis.size)} in the first operand and ${printSize(other.size)} in the second`,
          `one name is one size: rename '${axis.name}' of one operand, or slice it`,
        );
      }
      if (other === undefined && !out.includes(axis.name))
        return new Refusal(`axis '${axis.name}' of ${printAxes(a.axes)} is neither shared nor kept`, 'reduce it first');
    }
    const dropped = b.axes.find((axis) => axisOf(a.axes, axis.name) === undefined && !out.includes(axis.name));
    if (dropped !== undefined)
      return new Refusal(
        `axis '${dropped.name}' of ${printAxes(b.axes)} is neither shared nor kept`,
        'reduce it first',
      );
    const axes: Axis[] = [];
    for (const name of out) {
      const axis = axisOf(a.axes, name) ?? axisOf(b.axes, name);
      if (axis === undefined) return new Refusal(`neither operand has the axis '${name}'`);
      if (axes.includes(axis)) return new Refusal(`axis '${name}' stands twice`);
      axes.push(axis);
    }
    return { axes, dtype: a.dtype };
  },
};

/** The roles of the axes of a contraction. */
export interface Roles {
  /** In both operands and the output. */
  readonly batch: readonly Axis[];
  /** In the first operand and the output only. */
  readonly rows: readonly Axis[];
  /** In the second operand and the output only. */
  readonly columns: readonly Axis[];
  /** Summed. */
  readonly sum: readonly Axis[];
}

export function roles(a: TensorType, b: TensorType, out: TensorType): Roles {
  const has = (axes: readonly Axis[], axis: Axis) => axisOf(axes, axis.name) !== undefined;
  return {
    batch: out.axes.filter((axis) => has(a.axes, axis) && has(b.axes, axis)),
    rows: out.axes.filter((axis) => has(a.axes, axis) && !has(b.axes, axis)),
    columns: out.axes.filter((axis) => !has(a.axes, axis) && has(b.axes, axis)),
    sum: a.axes.filter((axis) => has(b.axes, axis) && !has(out.axes, axis)),
  };
}
