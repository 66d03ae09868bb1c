// A tensor while a model is traced: a node of the graph, its axis names in the type. Sizes are known to the trace only.
import { isAxisName } from './axis/axes.ts';
import { addSizes, axisOf, printAxes, printSize, type Axis, type Size } from './axis/axis.ts';
import { nearestNames, OpabiniaError } from './error.ts';
import { describe, inferType, type Builder, type Node } from './graph/graph.ts';
import { isInteger, Refusal, type Attrs, type DType, type Op } from './graph/op.ts';
import { mapOp } from './ops/map/index.ts';
import { constant, extent, typeAttrs } from './ops/source.ts';
import { broadcast, rearrange, slice } from './ops/view.ts';
import { said, requireFields } from './graph/required.ts';
import { here, originOf } from './origin.ts';
import type { AxisError, Has, Without } from './axis/pattern-types.ts';

declare const axesOfType: unique symbol;

/** Dtypes that parameters may have in a graph. */
export type Float = 'f16' | 'f32';

/** `unknown` when two dtypes may be the same, else the error; a type parameter may be any dtype. */
export type Agree<D extends DType, E extends DType> = [Differ<D, E>] extends ['wrong']
  ? AxisError<`dtypes differ: ${D} and ${E}; cast one of them`>
  : unknown;
type Differ<D extends DType, E extends DType> = [DType] extends [D]
  ? 'right'
  : [DType] extends [E]
    ? 'right'
    : [D & E] extends [never]
      ? 'wrong'
      : 'right';

/** The right operand of an elementwise function on axes S: a number, or a tensor whose axes are among S. */
export type Operand<S extends string, D extends DType, T extends string, E extends DType> =
  | (Tensor<T, E> & Has<S, T> & Agree<D, E>)
  | number;

/**
 * Axes S in order, as in `'b n d'`; `Tensor<string>` switches the checks of names off.
 * Elementwise methods broadcast by name: the right operand's axes must be among the left's.
 * Every method throws `OpabiniaError` for operands that do not fit, and after the trace has ended.
 */
export class Tensor<out S extends string = string, out D extends DType = DType> {
  declare readonly [axesOfType]: S;
  readonly builder: Builder;
  readonly node: Node;
  readonly dtype: D;

  constructor(builder: Builder, node: Node) {
    requireFields('Tensor', node, { type: 'object' }, 'tensors come from a trace: t.input', 'the node');
    this.builder = builder;
    this.node = node;
    this.dtype = node.type.dtype as D;
  }

  get axes(): readonly Axis[] {
    return this.node.type.axes;
  }

  /** The size of an axis as a number; throws when it is symbolic. */
  size<A extends string>(axis: A & Has<S, A>): number {
    const size = requireAxis('size', this, axis).size;
    if (typeof size !== 'number')
      throw refusal(
        'size',
        `axis '${axis}' has the symbolic size ${printSize(size)}`,
        [this],
        'sizeOf gives the size as it is',
      );
    return size;
  }

  sizeOf<A extends string>(axis: A & Has<S, A>): Size {
    return requireAxis('sizeOf', this, axis).size;
  }

  /** The same tensor, when its axes are the named ones in this order: the way from `Tensor<string>` back to checked names. */
  named<T extends string>(axes: T): Tensor<T, D> {
    const names = axes.split(' ').filter((name) => name !== '');
    if (names.length !== this.axes.length || names.some((name, i) => name !== this.axes[i]?.name))
      throw refusal('named', `the axes are not '${axes}'`, [this]);
    return this as Tensor<string, D> as Tensor<T, D>;
  }

  add<T extends string, E extends DType>(y: Operand<S, D, T, E>): Tensor<S, D> {
    return elementwise('add', this, y);
  }
  sub<T extends string, E extends DType>(y: Operand<S, D, T, E>): Tensor<S, D> {
    return elementwise('sub', this, y);
  }
  mul<T extends string, E extends DType>(y: Operand<S, D, T, E>): Tensor<S, D> {
    return elementwise('mul', this, y);
  }
  div<T extends string, E extends DType>(y: Operand<S, D, T, E>): Tensor<S, D> {
    return elementwise('div', this, y);
  }
  /** NaN wins, as in PyTorch. */
  min<T extends string, E extends DType>(y: Operand<S, D, T, E>): Tensor<S, D> {
    return elementwise('min', this, y);
  }
  /** NaN wins, as in PyTorch. */
  max<T extends string, E extends DType>(y: Operand<S, D, T, E>): Tensor<S, D> {
    return elementwise('max', this, y);
  }
  pow<T extends string, E extends DType>(y: Operand<S, D, T, E>): Tensor<S, D> {
    return elementwise('pow', this, y);
  }
  /** The remainder has the sign of the left operand, and is the left operand where the right one is infinite: `torch.fmod`. On a GPU, floats whose quotient is above 2²⁴ have lost its digits. */
  mod<T extends string, E extends DType>(y: Operand<S, D, T, E>): Tensor<S, D> {
    return elementwise('mod', this, y);
  }
  neg(): Tensor<S, D> {
    return apply('neg', mapOp('neg'), [this]);
  }

  lt<T extends string, E extends DType>(y: Operand<S, D, T, E>): Tensor<S, 'bool'> {
    return elementwise('lt', this, y);
  }
  le<T extends string, E extends DType>(y: Operand<S, D, T, E>): Tensor<S, 'bool'> {
    return elementwise('le', this, y);
  }
  gt<T extends string, E extends DType>(y: Operand<S, D, T, E>): Tensor<S, 'bool'> {
    return elementwise('gt', this, y);
  }
  ge<T extends string, E extends DType>(y: Operand<S, D, T, E>): Tensor<S, 'bool'> {
    return elementwise('ge', this, y);
  }
  eq<T extends string, E extends DType>(y: Operand<S, D, T, E>): Tensor<S, 'bool'> {
    return elementwise('eq', this, y);
  }
  ne<T extends string, E extends DType>(y: Operand<S, D, T, E>): Tensor<S, 'bool'> {
    return elementwise('ne', this, y);
  }
  and<T extends string>(y: Tensor<T, 'bool'> & Has<S, T> & Agree<D, 'bool'>): Tensor<S, 'bool'> {
    return elementwise('and', this, y);
  }
  or<T extends string>(y: Tensor<T, 'bool'> & Has<S, T> & Agree<D, 'bool'>): Tensor<S, 'bool'> {
    return elementwise('or', this, y);
  }
  not(): Tensor<S, 'bool'> {
    return apply('not', mapOp('not'), [this]);
  }

  /** This tensor where the mask is true, `otherwise` where it is false. */
  where<T extends string, U extends string, E extends DType>(
    mask: Tensor<T, 'bool'> & Has<S, T>,
    otherwise: Operand<S, D, U, E>,
  ): Tensor<S, D> {
    const no = typeof otherwise === 'number' ? scalar('where', this, otherwise) : otherwise;
    requireAmong('where', this, mask);
    requireAmong('where', this, no);
    // The record takes the order of axes from its first operand that has them all, which may be the mask.
    return apply('where', mapOp('where'), [
      ordered(
        mask,
        this.axes.map((axis) => axis.name),
      ),
      this,
      no,
    ]);
  }

  /** The elements at one position of an axis; the axis is gone. A negative number counts from the end. */
  at<T extends string, E extends DType, A extends string>(
    this: Tensor<T, E>,
    axis: A & Has<T, A>,
    index: Size,
  ): Tensor<Without<T, A>, E> {
    const { size } = requireAxis('at', this, axis);
    const start = typeof index === 'number' && index < 0 ? addSizes(size, index) : index;
    if (typeof start === 'number' && !Number.isInteger(start))
      throw refusal('at', `position ${start} is not a whole number`, [this]);
    if (typeof size === 'number' && typeof start === 'number' && (start < 0 || start >= size)) {
      throw refusal(
        'at',
        `axis '${axis}' has no position ${printSize(index)}: its size is ${printSize(size)}`,
        [this],
        `positions go from 0 to ${size - 1}`,
      );
    }
    const one = size === 1 ? this : apply<T, E>('at', slice, [this], { axis, start, size: 1, step: 1 });
    return dropUnit('at', one, axis);
  }

  /** The same numbers in another dtype; as whole numbers, floats are cut off towards zero and brought into range, and NaN is 0. */
  cast<E extends DType>(dtype: E): Tensor<S, E> {
    if ((this.dtype as DType) === dtype) return new Tensor<S, E>(this.builder, this.node);
    return apply('cast', mapOp('cast'), [this], { to: dtype });
  }
}

// ---- what the functions of this folder are made of -----------------------------------------------------------------

/** Makes the node of an op for the function `name`. Throws `OpabiniaError` when operands belong to two traces or do not fit. */
export function apply<S extends string, D extends DType>(
  name: string,
  op: Op,
  operands: readonly Tensor[],
  attrs: Attrs = {},
): Tensor<S, D> {
  for (const x of operands) requireTensor(name, x);
  const [first] = operands;
  if (first === undefined) throw new OpabiniaError('needs at least one tensor', { op: name, place: here().place });
  const stranger = operands.find((x) => x.builder !== first.builder);
  if (stranger !== undefined)
    throw refusal(
      name,
      'the tensors belong to two traces',
      [first, stranger],
      'build the whole model inside one trace; hand numbers from one to the other as an input',
    );
  const nodes = operands.map((x) => x.node);
  try {
    return named(
      name,
      operands,
      new Tensor<S, D>(first.builder, first.builder.make(op, nodes, attrs, originOf(nodes))),
    );
  } catch (error) {
    // What an attribute cannot be says no line: nothing was made that has one.
    if (error instanceof OpabiniaError && error.place === undefined)
      throw refusal(name, error.what, operands, error.advice);
    // The user called `name`, and the record that refused may have another.
    const refused =
      error instanceof OpabiniaError && op.name !== name
        ? inferType(
            op,
            nodes.map((node) => node.type),
            attrs,
          )
        : undefined;
    throw refused instanceof Refusal ? refusal(name, refused.what, operands, refused.advice) : error;
  }
}

/** `made`, unless an axis that a caller named has not the name of one. */
function named<T extends Tensor>(name: string, operands: readonly Tensor[], made: T): T {
  const wrong = made.axes.find((axis) => !isAxisName(axis.name));
  if (wrong === undefined) return made;
  const advice = "a name is one word of letters, digits and '_'";
  throw refusal(name, `'${wrong.name}' is not the name of an axis`, operands, advice);
}

/** An error of the function `name` that lists its operands with their axes, paths and lines. */
export function refusal(name: string, what: string, operands: readonly Tensor[], advice?: string): OpabiniaError {
  // An operand that is none has its own error, where it was to be used.
  const nodes = operands.flatMap((x) => (x instanceof Tensor ? [x.node] : []));
  const origin = originOf(nodes);
  const labels = nodes.length === 1 ? ['operand'] : ['first  ', 'second ', 'third  '];
  const list = nodes.map((node, i) => `\n  ${labels[i] ?? 'next   '} ${describe(node)}`).join('');
  return new OpabiniaError(`${what}${list}`, { op: name, path: origin.path, place: origin.place, advice });
}

/** Throws `OpabiniaError` for what is no tensor: callers may be without types. */
export function requireTensor(name: string, x: unknown): void {
  if (x instanceof Tensor) return;
  throw new OpabiniaError(`the tensor is ${said(x)}`, {
    op: name,
    place: here().place,
    advice: 'give a tensor of the trace, as t.input makes it',
  });
}

/** The axis of this name. Throws `OpabiniaError` with the nearest names. */
export function requireAxis(name: string, x: Tensor, axis: string): Axis {
  requireTensor(name, x);
  const found = axisOf(x.axes, axis);
  if (found !== undefined) return found;
  const names = x.axes.map((a) => `'${a.name}'`).join(', ');
  if (typeof axis !== 'string')
    throw refusal(name, `the axis is ${said(axis)}`, [x], `an axis is asked for by its name: ${names}`);
  const near = nearestNames(
    axis,
    x.axes.map((a) => a.name),
  );
  throw refusal(
    name,
    `${printAxes(x.axes)} has no axis '${axis}'`,
    [x],
    near.length === 0 ? 'the tensor is a scalar' : `the axes are ${near.map((n) => `'${n}'`).join(', ')}`,
  );
}

/** An axis whose size must be a number. */
export function requireNumber(name: string, x: Tensor, axis: string): number {
  const { size } = requireAxis(name, x, axis);
  if (typeof size === 'number') return size;
  throw refusal(name, `axis '${axis}' must have a number for its size, not the symbolic ${printSize(size)}`, [x]);
}

function requireAmong(name: string, left: Tensor, right: Tensor): void {
  const stray = right.axes.find((axis) => axisOf(left.axes, axis.name) === undefined);
  if (stray === undefined) return;
  throw refusal(
    name,
    `the right operand has the axis '${stray.name}' and the left has not`,
    [left, right],
    `widen the left operand with repeat, exchange the two, or rename '${stray.name}' with rearrange`,
  );
}

/** A map of two operands; the right one's axes must be among the left's. */
export function elementwise<S extends string, D extends DType>(
  name: string,
  left: Tensor,
  right: Tensor | number,
): Tensor<S, D> {
  requireTensor(name, left);
  const y = typeof right === 'number' ? scalar(name, left, right) : right;
  if (!(y instanceof Tensor))
    throw refusal(name, `the right operand is ${String(y)}`, [left], 'give a number or a tensor');
  requireAmong(name, left, y);
  return apply(name, mapOp(name), [left, y]);
}

/** A constant without axes, of the dtype of `like`. Interned, it serves many modules, so it has the path of none of them. */
export function scalar<D extends DType>(name: string, like: Tensor<string, D>, value: number): Tensor<'', D> {
  requireTensor(name, like);
  checkNumber(name, value, like.dtype, [like]);
  return new Tensor(
    like.builder,
    like.builder.make(constant, [], { ...typeAttrs([], like.dtype), values: Float64Array.of(value) }, here('')),
  );
}

/** Throws `OpabiniaError` when a constant is NaN, or not a number of this dtype. */
export function checkNumber(name: string, value: number, dtype: DType, operands: readonly Tensor[], place = ''): void {
  if (typeof value !== 'number')
    throw refusal(name, `the constant is ${said(value)}${place}`, operands, 'give a number');
  if (Number.isNaN(value))
    throw refusal(
      name,
      `the constant is NaN${place}`,
      operands,
      'look for 0/0, or an undefined that was computed with, in the code that made it',
    );
  if (isInteger(dtype) && !Number.isInteger(value))
    throw refusal(name, `${value}${place} is not a number of ${dtype}`, operands, "cast the tensor to 'f32' first");
  if (dtype === 'bool' && value !== 0 && value !== 1)
    throw refusal(name, `${value}${place} is not a bool`, operands, 'use 0 or 1');
}

/** The value of a size in this run, without axes: a constant, or for a symbolic size its extent. */
export function sizeValue<D extends DType>(name: string, like: Tensor<string, D>, size: Size): Tensor<'', D> {
  if (typeof size === 'number') return scalar(name, like, size);
  const node = like.builder.make(extent, [], { ...typeAttrs([], 'i32'), size }, originOf([like.node]));
  return new Tensor<'', 'i32'>(like.builder, node).cast(like.dtype);
}

/** `x` with its axes in the order that they have in `names`, by a view where it differs. */
export function ordered<S extends string, D extends DType>(
  x: Tensor<S, D>,
  names: readonly string[],
): Tensor<string, D> {
  const own = names.filter((name) => axisOf(x.axes, name) !== undefined);
  return own.length === x.axes.length ? renamed('rearrange', x, new Map(), own) : x;
}

/** `x` with axes renamed, and put in the order of `order` (new names) where it is given; no node when nothing changes. */
export function renamed<S extends string, D extends DType>(
  name: string,
  x: Tensor<string, D>,
  names: ReadonlyMap<string, string>,
  order?: readonly string[],
): Tensor<S, D> {
  const renames = x.axes.map((axis) => ({ part: axis.name, name: names.get(axis.name) ?? axis.name }));
  const merge = (order ?? renames.map((r) => r.name)).flatMap((wanted) => renames.filter((r) => r.name === wanted));
  const same = merge.every((r, i) => r.part === r.name && x.axes[i]?.name === r.name);
  if (same) return new Tensor<S, D>(x.builder, x.node);
  return apply(name, rearrange, [x], {
    split: x.axes.map((axis) => [axis.name]),
    merge: merge.map((r) => ({ name: r.name, parts: [r.part] })),
    sizes: Object.fromEntries(x.axes.map((axis) => [axis.name, axis.size])),
  });
}

/** Drops an axis of size 1. */
export function dropUnit<S extends string, D extends DType>(
  name: string,
  x: Tensor<string, D>,
  axis: string,
): Tensor<S, D> {
  const kept = x.axes.filter((a) => a.name !== axis);
  return apply(name, rearrange, [x], {
    split: x.axes.map((a) => (a.name === axis ? [] : [a.name])),
    merge: kept.map((a) => ({ name: a.name, parts: [a.name] })),
    sizes: Object.fromEntries(kept.map((a) => [a.name, a.size])),
  });
}

/** The value repeated along new axes; `axes` are all axes of the result, in order. No node when nothing changes. */
export function widened<S extends string, D extends DType>(
  name: string,
  x: Tensor<string, D>,
  axes: readonly Axis[],
): Tensor<S, D> {
  const same = axes.length === x.axes.length && axes.every((axis, i) => axis.name === x.axes[i]?.name);
  return same
    ? new Tensor<S, D>(x.builder, x.node)
    : apply(name, broadcast, [x], { axes: axes.map((a) => ({ name: a.name, size: a.size })) });
}
