// Reductions: associative operations over axes (attr `axes`: the names reduced away; `ties`: who has the gradient of equal extremes).
import { attributes, names, otherwise, text } from '../graph/attributes.ts';
import type { DType, ReduceOp } from '../graph/op.ts';
import { call, wgsl } from '../wgsl.ts';
import { largest, smallest } from './map/wgsl-functions.ts';

const lowest = {
  f32: -Infinity,
  f16: -Infinity,
  bf16: -Infinity,
  i32: -2147483648,
  u32: 0,
  bool: 0,
} as const satisfies Record<DType, number>;
const highest = {
  f32: Infinity,
  f16: Infinity,
  bf16: Infinity,
  i32: 2147483647,
  u32: 4294967295,
  bool: 1,
} as const satisfies Record<DType, number>;

const read = attributes('reduce', { axes: names, ties: otherwise(text, 'share') });

export const sum: ReduceOp = {
  kind: 'reduce',
  read,
  name: 'sum',
  doc: 'Σ x',
  identity: 0,
  rounding: 1,
  combine: (a, b) => a + b,
  identityOf: () => 0,
  wgsl: (a, b) => wgsl`(${a} + ${b})`,
  grad: (_m, dy) => dy,
};

/**
 * Elements that are equally extreme share the gradient evenly, as in PyTorch's amax and amin; with the attribute `ties: 'first'` the first
 * along the axes has all of it, as in PyTorch's max_pool2d.
 */
const amongEquals: NonNullable<ReduceOp['grad']> = (m, dy, y, x, axes) => {
  const extreme = m.op('eq', x, y);
  if (read(y.attrs).ties === 'first') return m.op('where', m.first(extreme, axes), dy, 0);
  const share = m.op('div', dy, m.sum(m.cast(extreme, dy.type.dtype), axes));
  return m.op('where', extreme, share, 0);
};

/** NaN wins, as in PyTorch. */
export const reduceMax: ReduceOp = {
  kind: 'reduce',
  read,
  name: 'reduceMax',
  doc: 'the largest element',
  identity: -Infinity,
  rounding: 0,
  combine: Math.max,
  identityOf: (dtype) => lowest[dtype],
  wgsl: (a, b) => call(largest, a, b),
  grad: amongEquals,
};

/** NaN wins, as in PyTorch. */
export const reduceMin: ReduceOp = {
  kind: 'reduce',
  read,
  name: 'reduceMin',
  doc: 'the smallest element',
  identity: Infinity,
  rounding: 0,
  combine: Math.min,
  identityOf: (dtype) => highest[dtype],
  wgsl: (a, b) => call(smallest, a, b),
  grad: amongEquals,
};

export const reductions: readonly ReduceOp[] = [sum, reduceMax, reduceMin];
