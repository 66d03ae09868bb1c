// Numbers known while a model is traced, for functions that have tensors and no trace.
import type { DType } from '../graph/op.ts';
import { constant, typeAttrs } from '../ops/source.ts';
import { originOf } from '../origin.ts';
import { axisList, sizedAxes } from '../params.ts';
import type { Distinct } from '../axis/pattern-types.ts';
import { checkNumber, refusal, Tensor } from '../tensor.ts';

/** Numbers in row-major order as a tensor of the graph that `like` belongs to. Throws `OpabiniaError` for another count of them, and for NaN. */
export function constantLike<S extends string, D extends DType>(
  like: Tensor,
  values: ArrayLike<number>,
  axes: S & Distinct<S>,
  sizes: Readonly<Record<string, number>>,
  dtype: D,
): Tensor<S, D> {
  const stated = sizedAxes('constantLike', axisList('constantLike', axes), sizes);
  const count = stated.reduce((product, axis) => product * Number(axis.size), 1);
  if (count !== values.length)
    throw refusal('constantLike', `${values.length} numbers for ${count} elements of '${axes}'`, [like]);
  const numbers = Float64Array.from(values);
  for (const [i, value] of numbers.entries()) checkNumber('constantLike', value, dtype, [like], ` at ${i}`);
  return new Tensor<S, D>(
    like.builder,
    like.builder.make(constant, [], { ...typeAttrs(stated, dtype), values: numbers }, originOf([like.node])),
  );
}
