// What computes in f32 whatever the dtype.
import { isFloat, type DType } from '../graph/op.ts';
import { refusal, type Tensor } from '../tensor.ts';

/** Runs `f` on floats in f32 and gives back the dtype of x. */
export function inF32<S extends string, D extends DType>(
  name: string,
  x: Tensor<S, D>,
  f: (x: Tensor<S>) => Tensor<S>,
): Tensor<S, D> {
  if (!isFloat(x.dtype)) throw refusal(name, `takes floats, not ${x.dtype}`, [x], "cast it to 'f32'");
  return x.dtype === 'f32' ? (f(x) as Tensor<S, D>) : f(x.cast('f32')).cast(x.dtype);
}
