// Scalar functions, alone and with operands that broadcast.
import {
  abs,
  cos,
  einsum,
  erf,
  exp,
  gelu,
  log,
  neg,
  relu,
  rsqrt,
  sigmoid,
  silu,
  sin,
  softmax,
  sqrt,
  tanh,
  where,
  type Tensor,
} from '../../../../dsl/index.ts';
import { OpabiniaError } from '../../../../dsl/error.ts';
import { broadcast, called, namesOf, reducedOver, sizesOf, type Case, type OpOf, type T } from './case.ts';

const unary =
  (f: (x: T, c: Case) => Tensor): OpOf =>
  (c) =>
    f(c.x('x'), c);

const binary =
  (f: (a: T, b: T) => Tensor): OpOf =>
  (c) => {
    const [a, b] = broadcast<'f32'>([c.x('a'), c.x('b')]);
    return f(a as T, b as T);
  };

export const pointwise: Readonly<Record<string, OpOf>> = {
  add: binary((a, b) => a.add(b)),
  sub: binary((a, b) => a.sub(b)),
  mul: binary((a, b) => a.mul(b)),
  div: binary((a, b) => a.div(b)),
  maximum: binary((a, b) => a.max(b)),
  minimum: binary((a, b) => a.min(b)),
  exp: unary(exp),
  log: unary(log),
  sqrt: unary(sqrt),
  rsqrt: unary(rsqrt),
  reciprocal: unary((x, { t }) => t.constant<string>(1, namesOf(x).join(' '), sizesOf(x.axes)).div(x)),
  square: unary((x) => x.mul(x)),
  neg: unary(neg),
  erf: unary(erf),
  sin: unary(sin),
  cos: unary(cos),
  tanh: unary(tanh),
  abs: unary(abs),
  relu: unary(relu),
  sigmoid: unary(sigmoid),
  silu: unary(silu),
  gelu_exact: unary((x) => gelu(x, 'exact')),
  gelu_tanh: unary((x) => gelu(x, 'tanh')),
  gelu_quick: unary((x) => gelu(x, 'quick')),
  // PyTorch takes x itself above 20, where the two are equal in f32.
  softplus: unary((x) => where(x.gt(20), x, log(exp(x.min(20)).add(1)))),
  clamp: unary((x, { attrs }) => {
    const [least, most] = [attrs.number('min', -Infinity), attrs.number('max', Infinity)];
    const low = least === -Infinity ? x : where(x.lt(least), least, x);
    return most === Infinity ? low : where(low.gt(most), most, low);
  }),
  pow: (c) => {
    if (c.has('b')) {
      const [a, b] = broadcast<'f32'>([c.x('a'), c.x('b')]);
      return (a as T).pow(b as T);
    }
    return c.x('x').pow(c.attrs.number('exponent'));
  },
  where: (c) => {
    const [test, a, b] = broadcast<'f32'>([c.bool('cond'), c.x('a'), c.x('b')]);
    return where(test as Tensor as T<'bool'>, a as T, b as T);
  },
  mse: (c) => {
    const [x, target] = broadcast<'f32'>([c.x('x'), c.x('target')]);
    const difference = (x as T).sub(target as T);
    const square = difference.mul(difference);
    return reducedOver(
      square,
      square.axes.map((_, i) => i),
      c.attrs.text('reduction', 'mean') === 'mean' ? 'mean' : 'sum',
    );
  },
  composite: (c) => {
    const formula = c.attrs.text('formula');
    if (formula !== 'h = x@w; y = tanh(h)*h + softmax(h, last)')
      throw new OpabiniaError(`there is no composite '${formula}'`, { op: 'verify' });
    const h = einsum(called(c.x('x'), 'm k'), called(c.x('w'), 'k n'), 'm k, k n -> m n' as never) as Tensor as T;
    return tanh(h).mul(h).add(softmax(h, 'n'));
  },
};
