// A tensor of the exported graph with the order its axes really have: permutations are written only where a reader needs another order.
import { axisOf, type Axis } from '../../dsl/axis/axis.ts';
import type { Writer } from './writer.ts';

export interface Value {
  /** Name of the tensor in the exported graph. */
  readonly tensor: string;
  /** Its axes, outermost first; the node it stands for may list them in another order. */
  readonly axes: readonly Axis[];
}

/** The tensor with its axes in this order, without an operator; undefined where there is none. */
export type Reorder = (tensor: string, order: readonly number[]) => string | undefined;

export class Permutations {
  readonly #writer: Writer;
  readonly #permuted = new Map<string, string>();
  readonly #stored: Reorder;

  /** `stored` knows a tensor that lies in another order in a file. */
  constructor(writer: Writer, stored: Reorder = () => undefined) {
    this.#writer = writer;
    this.#stored = stored;
  }

  /** The tensor with its axes in this order. */
  inOrder(value: Value, names: readonly string[]): Value {
    const places = names.map((name) => value.axes.findIndex((axis) => axis.name === name));
    if (places.length !== value.axes.length || places.includes(-1))
      throw new TypeError(`axes ${names.join(' ')} are not those of ${value.tensor}`);
    const axes = places.flatMap((place) => value.axes[place] ?? []);
    if (places.every((place, i) => place === i)) return value;
    const key = `${value.tensor}|${places.join()}`;
    const tensor =
      this.#permuted.get(key) ??
      this.#stored(value.tensor, places) ??
      this.#writer.emit('Transpose', [value.tensor], { perm: places.map(BigInt) });
    this.#permuted.set(key, tensor);
    return { tensor, axes };
  }

  /**
   * The tensor ready to be broadcast against others of the axes `names`: its axes in that order, axes of size 1 where it lacks one.
   * Leading axes may be left out, as ONNX adds them.
   */
  aligned(value: Value, names: readonly string[], keepLeading = false): string {
    const own = names.filter((name) => axisOf(value.axes, name) !== undefined);
    const { tensor } = this.inOrder(value, own);
    const first = keepLeading ? 0 : names.findIndex((name) => own.includes(name));
    const missing = first === -1 ? [] : names.slice(first).flatMap((name, i) => (own.includes(name) ? [] : [i]));
    return missing.length === 0 ? tensor : this.#writer.emit('Unsqueeze', [tensor, this.#writer.ints(missing)]);
  }

  /** The tensor with these axes, merged in groups, each group one axis of the shape. */
  grouped(value: Value, groups: readonly (readonly Axis[])[]): string {
    const { tensor, axes } = this.inOrder(
      value,
      groups.flat().map((axis) => axis.name),
    );
    if (groups.every((group) => group.length === 1)) return tensor;
    return this.#writer.reshape(
      tensor,
      groups.map((group) => group.map((axis) => axisOf(axes, axis.name)?.size ?? 1)),
    );
  }
}
