// Scalar functions of tensors, selection, and ranking.
import { axisOf, sizeBound, type Axis } from '../axis/axis.ts';
import { isFloat, type DType } from '../graph/op.ts';
import { concat as concatOp } from '../ops/join.ts';
import { mapOp } from '../ops/map/index.ts';
import { iota, typeAttrs } from '../ops/source.ts';
import { originOf } from '../origin.ts';
import type { Lacks } from '../axis/argument-types.ts';
import type { Has, Renamed, Wider, Without } from '../axis/pattern-types.ts';
import { reduceAxes, gather } from './shape.ts';
import {
  apply,
  elementwise,
  refusal,
  renamed,
  requireAxis,
  scalar,
  Tensor,
  widened,
  type Agree,
  type Operand,
} from '../tensor.ts';

function unary<S extends string, D extends DType>(name: string, x: Tensor<S, D>): Tensor<S, D> {
  return apply(name, mapOp(name), [x]);
}

/**
 * e^x. Exponents below −87 give 0: denormal results are flushed.
 * @example exp(x.neg())
 */
export function exp<S extends string, D extends DType>(x: Tensor<S, D>): Tensor<S, D> {
  return unary('exp', x);
}
/**
 * ln x; −∞ at 0, NaN below.
 * @example log(x.mul(x).add(1))
 */
export function log<S extends string, D extends DType>(x: Tensor<S, D>): Tensor<S, D> {
  return unary('log', x);
}
/**
 * √x; NaN below 0.
 * @example sqrt(abs(x))
 */
export function sqrt<S extends string, D extends DType>(x: Tensor<S, D>): Tensor<S, D> {
  return unary('sqrt', x);
}
/**
 * 1/√x
 * @example rsqrt(x.mul(x).add(1e-6))
 */
export function rsqrt<S extends string, D extends DType>(x: Tensor<S, D>): Tensor<S, D> {
  return unary('rsqrt', x);
}
/**
 * The hyperbolic tangent.
 * @example tanh(x)
 */
export function tanh<S extends string, D extends DType>(x: Tensor<S, D>): Tensor<S, D> {
  return unary('tanh', x);
}
/**
 * The error function, 2/√π ∫₀ˣ e^(−t²) dt.
 * @example erf(x)
 */
export function erf<S extends string, D extends DType>(x: Tensor<S, D>): Tensor<S, D> {
  return unary('erf', x);
}
/**
 * 1 / (1 + e^(−x)).
 * @example x.mul(sigmoid(x))
 */
export function sigmoid<S extends string, D extends DType>(x: Tensor<S, D>): Tensor<S, D> {
  return unary('sigmoid', x);
}
/**
 * The sine; x in radians.
 * @example sin(x)
 */
export function sin<S extends string, D extends DType>(x: Tensor<S, D>): Tensor<S, D> {
  return unary('sin', x);
}
/**
 * The cosine; x in radians.
 * @example cos(x)
 */
export function cos<S extends string, D extends DType>(x: Tensor<S, D>): Tensor<S, D> {
  return unary('cos', x);
}
/**
 * The largest whole number that is not above x.
 * @example floor(x)
 */
export function floor<S extends string, D extends DType>(x: Tensor<S, D>): Tensor<S, D> {
  return unary('floor', x);
}
/**
 * |x| for every element.
 * @example abs(x)
 */
export function abs<S extends string, D extends DType>(x: Tensor<S, D>): Tensor<S, D> {
  return unary('abs', x);
}
/**
 * −x for every element.
 * @example neg(x)
 */
export function neg<S extends string, D extends DType>(x: Tensor<S, D>): Tensor<S, D> {
  return unary('neg', x);
}

/**
 * The bits in which two whole numbers differ.
 * @example xor(ids, 5)
 */
export function xor<S extends string, D extends DType, T extends string, E extends DType>(
  x: Tensor<S, D>,
  y: Operand<S, D, T, E>,
): Tensor<S, D> {
  return elementwise('xor', x, y);
}

/**
 * The bits of x moved down by y places, modulo 32; the sign of an i32 is kept.
 * @example shiftRight(ids, 1)
 */
export function shiftRight<S extends string, D extends DType, T extends string, E extends DType>(
  x: Tensor<S, D>,
  y: Operand<S, D, T, E>,
): Tensor<S, D> {
  return elementwise('shiftRight', x, y);
}

/**
 * True where an element is not a number.
 * @example isNaN(x)
 */
export function isNaN<S extends string, D extends DType>(x: Tensor<S, D>): Tensor<S, 'bool'> {
  return apply('isNaN', mapOp('isNaN'), [x]);
}

/**
 * `yes` where the mask is true, `no` where it is false; the axes are those of the operand that has them all.
 * @example where(mask, x, 0)
 */
export function where<M extends string, S extends string, D extends DType>(
  mask: Tensor<M, 'bool'>,
  yes: Tensor<S, D>,
  no: number,
): Tensor<Wider<M, S>, D>;
export function where<M extends string, S extends string, D extends DType>(
  mask: Tensor<M, 'bool'>,
  yes: number,
  no: Tensor<S, D>,
): Tensor<Wider<M, S>, D>;
export function where<M extends string, S extends string, T extends string, D extends DType, E extends DType>(
  mask: Tensor<M, 'bool'>,
  yes: Tensor<S, D>,
  no: Tensor<T, E> & Agree<D, E>,
): Tensor<Wider<Wider<M, S>, T>, D>;
export function where(mask: Tensor<string, 'bool'>, yes: Tensor | number, no: Tensor | number): Tensor {
  const like = typeof yes !== 'number' ? yes : typeof no !== 'number' ? no : undefined;
  if (like === undefined)
    throw refusal('where', 'both values are numbers', [mask], "use mask.cast('f32') and arithmetic, or t.constant");
  const tensor = (value: Tensor | number): Tensor => (typeof value === 'number' ? scalar('where', like, value) : value);
  return apply('where', mapOp('where'), [mask, tensor(yes), tensor(no)]);
}

/** The index along `axis`, in the graph of `like`. */
export function positions<A extends string>(like: Tensor, axis: Axis, name: A): Tensor<A, 'i32'> {
  return new Tensor<A, 'i32'>(
    like.builder,
    like.builder.make(iota, [], typeAttrs([{ name, size: axis.size }], 'i32'), originOf([like.node])),
  );
}

/**
 * The position of the largest element, the first of equals; NaN is larger than every number, as in PyTorch.
 * @example argmax(x, 'd') // Tensor<'b n', 'i32'>
 */
export function argmax<S extends string, D extends DType, A extends string>(
  x: Tensor<S, D>,
  axis: A & Has<S, A>,
): Tensor<Without<S, A>, 'i32'> {
  const along = requireAxis('argmax', x, axis);
  const largest = reduceAxes<string, D>('max', x, [axis], 'argmax');
  const equal: Tensor<string, 'bool'> = elementwise('eq', x, largest);
  const hit: Tensor<string, 'bool'> = isFloat(x.dtype) ? equal.or(isNaN(x)) : equal;
  const index = widened<string, 'i32'>('argmax', positions(x, along, axis), x.axes);
  return reduceAxes('min', index.where(hit, sizeBound(along.size)), [axis], 'argmax');
}

const mostRanked = 4096;

/**
 * The k largest elements along an axis in falling order, and their positions; among equals the lower position comes first.
 * NaN is larger than every number, as in PyTorch. `into` names the axis of the result; without it, it keeps its name.
 * Up to 4096 elements each is ranked against all others; beyond, the largest is taken k times.
 * @example const { values, indices } = topK(x, 'd', 2, 'k') // both Tensor<'b n k'>
 */
export function topK<S extends string, D extends DType, A extends string, I extends string = A>(
  x: Tensor<S, D>,
  axis: A & Has<S, A>,
  k: number,
  into?: I & Lacks<Without<S, A>, I>,
): { readonly values: Tensor<Renamed<S, A, I>, D>; readonly indices: Tensor<Renamed<S, A, I>, 'i32'> } {
  const along = requireAxis('topK', x, axis);
  const name = into ?? axis;
  if (!Number.isInteger(k) || k < 1) throw refusal('topK', `k is ${k}`, [x], 'k is a positive whole number');
  if (typeof along.size === 'number' && k > along.size)
    throw refusal('topK', `axis '${axis}' of size ${along.size} has no ${k} largest`, [x]);
  if (name !== axis && axisOf(x.axes, name) !== undefined)
    throw refusal('topK', `the tensor has the axis '${name}' already`, [x], 'give `into` another name');
  const fresh = `${axis}_top`;
  const indices =
    sizeBound(along.size) <= mostRanked ? rankedIndices(x, along, k, fresh) : repeatedIndices(x, along, k, fresh);
  const values = gather<string, D, string, string>(x, indices, axis);
  const names = new Map([[fresh, name]]);
  return { values: renamed('topK', values, names), indices: renamed('topK', indices, names) };
}

/** rank of i = number of j that come before it; position r of the result is the i of rank r. */
function rankedIndices(x: Tensor, along: Axis, k: number, fresh: string): Tensor<string, 'i32'> {
  const other = `${along.name}_other`;
  const theirs = renamed<string, DType>('topK', x, new Map([[along.name, other]]));
  const pairs = x.axes.flatMap((axis) =>
    axis.name === along.name ? [axis, { name: other, size: along.size }] : [axis],
  );
  const [a, b] = [widened<string, DType>('topK', x, pairs), widened<string, DType>('topK', theirs, pairs)];
  const [i, j] = [positions(x, along, along.name), positions(x, along, other)].map((p) =>
    widened<string, 'i32'>('topK', p, pairs),
  );
  if (i === undefined || j === undefined) throw new TypeError('two positions were made');
  let greater: Tensor<string, 'bool'> = b.gt(a);
  let equal: Tensor<string, 'bool'> = b.eq(a);
  if (isFloat(x.dtype)) {
    const [nanA, nanB] = [isNaN(a), isNaN(b)];
    greater = greater.or(nanB.and(nanA.not()));
    equal = equal.or(nanB.and(nanA));
  }
  const rank = reduceAxes<string, 'i32'>('sum', greater.or(equal.and(j.lt(i))).cast('i32'), [other]);
  const slots = rank.axes.flatMap((axis) => (axis.name === along.name ? [axis, { name: fresh, size: k }] : [axis]));
  const slot = positions(x, { name: fresh, size: k }, fresh);
  const here = widened<string, 'i32'>('topK', positions(x, along, along.name), slots);
  return reduceAxes('sum', here.where(widened<string, 'i32'>('topK', rank, slots).eq(slot), 0), [along.name]);
}

/** argmax, k times, each time without the positions already taken. */
function repeatedIndices(x: Tensor, along: Axis, k: number, fresh: string): Tensor<string, 'i32'> {
  const index = widened<string, 'i32'>('topK', positions(x, along, along.name), x.axes);
  let free: Tensor<string, 'bool'> | undefined;
  const taken: Tensor<string, 'i32'>[] = [];
  for (let n = 0; n < k; n++) {
    const best = free === undefined ? argmax<string, DType, string>(x, along.name) : bestAmong(x, free, along, index);
    const rest: Tensor<string, 'bool'> = index.ne(best);
    free = free === undefined ? rest : free.and(rest);
    taken.push(best);
  }
  const order = x.axes.map((axis) => (axis.name === along.name ? { name: fresh, size: k } : axis));
  const unit = taken.map((best) =>
    widened<string, 'i32'>(
      'topK',
      best,
      order.map((axis) => (axis.name === fresh ? { name: fresh, size: 1 } : axis)),
    ),
  );
  return unit.length === 1 && unit[0] !== undefined ? unit[0] : apply('topK', concatOp, unit, { axis: fresh });
}

/** As argmax among the free positions. Nothing outside them can win, whatever the values are. */
function bestAmong(
  x: Tensor,
  free: Tensor<string, 'bool'>,
  along: Axis,
  index: Tensor<string, 'i32'>,
): Tensor<string, 'i32'> {
  const lowest = isFloat(x.dtype) ? -Infinity : x.dtype === 'u32' ? 0 : -2147483648;
  const largest = reduceAxes<string, DType>('max', x.where(free, lowest), [along.name]);
  let hit: Tensor<string, 'bool'> = elementwise('eq', x, largest);
  if (isFloat(x.dtype)) hit = hit.or(isNaN(x));
  return reduceAxes('min', index.where(hit.and(free), sizeBound(along.size)), [along.name]);
}
