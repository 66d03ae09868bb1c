// Scalar functions of tensors, and selection.
import type { Axis } from '../axis/axis.ts';
import type { DType } from '../graph/op.ts';
import { mapOp } from '../ops/map/index.ts';
import { iota, typeAttrs } from '../ops/source.ts';
import { originOf } from '../origin.ts';
import type { Together } from '../axis/argument-types.ts';
import type { Wider } from '../axis/pattern-types.ts';
import { apply, elementwise, refusal, scalar, Tensor, type Agree, type Operand, requireTensor } from '../tensor.ts';

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
  yes: Tensor<S, D> & Together<M, S, ''>,
  no: number,
): Tensor<Wider<M, S>, D>;
export function where<M extends string, S extends string, D extends DType>(
  mask: Tensor<M, 'bool'>,
  yes: number,
  no: Tensor<S, D> & Together<M, S, ''>,
): Tensor<Wider<M, S>, D>;
export function where<M extends string, S extends string, T extends string, D extends DType, E extends DType>(
  mask: Tensor<M, 'bool'>,
  yes: Tensor<S, D>,
  no: Tensor<T, E> & Agree<D, E> & Together<M, S, T>,
): Tensor<Wider<Wider<M, S>, T>, D>;
// tsc shows the error of the last: what fits none of the others is told here, by the operand that does not fit.
export function where<M extends string, D extends DType, E extends DType, S extends string = '', T extends string = ''>(
  mask: Tensor<M, 'bool'>,
  yes: number | (Tensor<S, D> & Together<M, S, T>),
  no: Tensor<T, E> & Agree<D, E> & Together<M, S, T>,
): Tensor<Wider<Wider<M, S>, T>, D>;
export function where(mask: Tensor<string, 'bool'>, yes: Tensor | number, no: Tensor | number): Tensor {
  requireTensor('where', mask);
  for (const x of [yes, no]) if (typeof x !== 'number') requireTensor('where', x);
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
