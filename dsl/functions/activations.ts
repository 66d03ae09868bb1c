// Activations of neural networks, and softmax.
import type { DType } from '../graph/op.ts';
import { stopGradient } from '../gradient/stop-gradient.ts';
import type { Has } from '../axis/pattern-types.ts';
import { erf, exp, log, sigmoid, tanh, where } from './math.ts';
import { reduceAxes } from './shape.ts';
import { elementwise, refusal, requireAxis, type Tensor, requireTensor } from '../tensor.ts';
import { inF32 } from './in-f32.ts';

/**
 * x·Φ(x): by erf, by tanh (Hendrycks and Gimpel 2016, §2), or by the sigmoid of 1.702x (OpenAI's CLIP). Throws `OpabiniaError` for another form.
 * @example gelu(x, 'tanh')
 */
export function gelu<S extends string, D extends DType>(
  x: Tensor<S, D>,
  form: 'exact' | 'tanh' | 'quick' = 'exact',
): Tensor<S, D> {
  requireTensor('gelu', x);
  const y: Tensor = x;
  switch (form) {
    case 'exact':
      return y.mul(0.5).mul(erf(y.mul(Math.SQRT1_2)).add(1)) as Tensor<S, D>;
    case 'tanh':
      return y.mul(0.5).mul(tanh(y.add(y.mul(y).mul(y).mul(0.044715)).mul(Math.sqrt(2 / Math.PI))).add(1)) as Tensor<
        S,
        D
      >;
    case 'quick':
      return y.mul(sigmoid(y.mul(1.702))) as Tensor<S, D>;
    default:
      throw refusal('gelu', `there is no form '${String(form satisfies never)}'`, [x], "'exact', 'tanh' or 'quick'");
  }
}

/**
 * x·sigmoid(x)
 * @example silu(x)
 */
export function silu<S extends string, D extends DType>(x: Tensor<S, D>): Tensor<S, D> {
  return elementwise('mul', x, sigmoid(x));
}

/**
 * x where x > 0, else 0; NaN stays. Its slope at 0 is 0, as in PyTorch.
 * @example relu(x)
 */
export function relu<S extends string, D extends DType>(x: Tensor<S, D>): Tensor<S, D> {
  return where(elementwise<S, 'bool'>('le', x, 0), 0, x) as Tensor<string, D> as Tensor<S, D>;
}

/**
 * e^x / Σ e^x along an axis, in f32.
 * @example softmax(x, 'd')
 */
export function softmax<S extends string, D extends DType, A extends string>(
  x: Tensor<S, D>,
  axis: A & Has<S, A>,
): Tensor<S, D> {
  requireAxis('softmax', x, axis);
  return inF32('softmax', x, (wide) => {
    const e = exp(shifted('softmax', wide, axis));
    return elementwise('div', e, reduceAxes('sum', e, [axis], 'softmax'));
  });
}

/**
 * log softmax along an axis, in f32.
 * @example logSoftmax(x, 'd')
 */
export function logSoftmax<S extends string, D extends DType, A extends string>(
  x: Tensor<S, D>,
  axis: A & Has<S, A>,
): Tensor<S, D> {
  requireAxis('logSoftmax', x, axis);
  return inF32('logSoftmax', x, (wide) => {
    const low = shifted('logSoftmax', wide, axis);
    return elementwise('sub', low, log(reduceAxes<string, DType>('sum', exp(low), [axis], 'logSoftmax')));
  });
}

/** x − max x along an axis, so that powers of e stay finite. What follows is the same for every shift, so none has a gradient. */
function shifted<S extends string>(name: string, x: Tensor<S>, axis: string): Tensor<S> {
  return elementwise('sub', x, stopGradient(reduceAxes<string, DType>('max', x, [axis], name)));
}
