// One case of a file of ops: operands under positional axis names, as PyTorch has them, and the attributes of the op.
import { OpabiniaError } from '../../../../dsl/error.ts';
import {
  rearrange,
  reduce,
  repeat,
  type Axis,
  type DType,
  type Params,
  type Sizes,
  type Tensor,
  type Trace,
} from '../../../../dsl/index.ts';
import { renamed } from '../../../../dsl/tensor.ts';
import type { ConfigReader } from '../../../../models/configs/config-reader.ts';

export type T<D extends DType = 'f32'> = Tensor<string, D>;

export interface Case {
  readonly t: Trace;
  readonly attrs: ConfigReader;
  /** An operand by name; axis i is called `a{i}`, or as `names` says. */
  x(name: string, names?: string): T;
  whole(name: string, names?: string): T<'i32'>;
  bool(name: string, names?: string): T<'bool'>;
  has(name: string): boolean;
  readonly names: readonly string[];
}

/** The function of one op: its operands' value. */
export type OpOf = (c: Case) => Tensor;

export const namesOf = (x: Tensor): readonly string[] => x.axes.map((axis) => axis.name);

export const sizesOf = (axes: readonly Axis[]): Record<string, Axis['size']> =>
  Object.fromEntries(axes.map((axis) => [axis.name, axis.size]));

export const sizeAt = (x: Tensor, i: number): number => Number(x.axes[i]?.size ?? 1);

/** The axes under other names, in their order. */
export function called<D extends DType>(x: T<D>, names: string): T<D> {
  const list = names.split(' ').filter((name) => name !== '');
  return renamed('verify', x, new Map(x.axes.map((axis, i) => [axis.name, list[i] ?? axis.name])));
}

export function turned<D extends DType>(x: T<D>, pattern: string, sizes: Sizes = {}): T<D> {
  return rearrange(x, pattern as never, sizes) as Tensor as T<D>;
}

export function repeated<D extends DType>(x: T<D>, pattern: string, sizes: Sizes = {}): T<D> {
  return repeat(x, pattern as never, sizes) as Tensor as T<D>;
}

/** Over the axes with these numbers; negative ones count from the end. Kept as axes of size 1 on request. */
export function reducedOver(x: T, axes: readonly number[], by: 'sum' | 'mean' | 'max' | 'min', keep = false): T {
  const names = namesOf(x);
  const gone = new Set(axes.map((axis) => names.at(axis)));
  const kept = names.filter((name) => !gone.has(name));
  const y = reduce(x, `${names.join(' ')} -> ${kept.join(' ')}` as never, by) as Tensor as T;
  return keep
    ? repeated(
        y,
        `${kept.join(' ')} -> ${names.join(' ')}`,
        Object.fromEntries([...gone].map((name) => [name ?? '', 1])),
      )
    : y;
}

/** The name of the axis with this number. */
export function axisAt(x: Tensor, axis: number): string {
  const name = namesOf(x).at(axis);
  if (name === undefined) throw new OpabiniaError(`there is no axis ${axis}`, { op: 'verify' });
  return name;
}

/** NumPy's broadcasting: aligned at the last axis, axes of size 1 repeated; each tensor then has all axes. */
export function broadcast<D extends DType>(xs: readonly T<DType>[]): readonly T<D>[] {
  const rank = Math.max(...xs.map((x) => x.axes.length));
  const placed = xs.map((x) => called(x, x.axes.map((_, i) => `a${rank - x.axes.length + i}`).join(' ')));
  const sizes = Array.from({ length: rank }, (_, i) =>
    Math.max(...placed.map((x) => Number(x.axes.find((axis) => axis.name === `a${i}`)?.size ?? 1))),
  );
  const all = sizes.map((_, i) => `a${i}`);
  return placed.map((x) => {
    const kept = x.axes.filter((axis) => axis.size === sizes[Number(axis.name.slice(1))]);
    const bare = turned(
      x,
      `${x.axes.map((axis) => (kept.includes(axis) ? axis.name : '()')).join(' ')} -> ${kept.map((axis) => axis.name).join(' ')}`,
    );
    return repeated(
      bare,
      `${kept.map((axis) => axis.name).join(' ')} -> ${all.join(' ')}`,
      Object.fromEntries(
        all.map((name, i) => [name, sizes[i] ?? 1]).filter(([name]) => !kept.some((k) => k.name === name)),
      ),
    ) as T<DType> as T<D>;
  });
}

/** Operands as the parameters of a module. */
export function given(tensors: Readonly<Record<string, T>>): Params {
  const params: Params = {
    path: '',
    at: () => params,
    has: (name) => tensors[name] !== undefined,
    get: <S extends string>(name: string, axes: S): Tensor<S, 'f32'> => {
      const tensor = tensors[name];
      if (tensor === undefined) throw new OpabiniaError(`the case has no operand '${name}'`, { op: 'verify' });
      return called(tensor, axes) as Tensor as Tensor<S, 'f32'>;
    },
  };
  return params;
}
