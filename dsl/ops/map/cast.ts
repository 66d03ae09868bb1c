// The same number: in another dtype, or a second time.
import { attributes, dtype } from '../../graph/attributes.ts';
import type { DType, MapOp } from '../../graph/op.ts';
import { call, code, like, literal, scalarType, splat, type Code, type WgslType } from '../../wgsl.ts';
import { within } from './accuracy.ts';
import { map } from './row.ts';
import { wholeSigned, wholeUnsigned } from './wgsl-functions.ts';

const read = attributes('cast', { to: dtype });

export const cast: MapOp = map({
  name: 'cast',
  doc: 'another dtype (attr to); floats are cut off towards zero, and brought into range; NaN is 0 as a whole number',
  arity: 1,
  converts: true,
  flops: 0,
  sample: [-4, 4],
  accuracy: within(0),
  dtype: (_operands, attrs) => read(attrs).to,
  eval: ([x = NaN], dtype) => castNumber(x, dtype),
  wgsl: ([x], result) => castCode(x as Code, result),
  grad: (m, dy, _y, [x]) => [x === undefined ? undefined : m.cast(dy, x.type.dtype)],
});

/**
 * The same number, computed a second time: what stands behind it is not the same node as what stands behind its operand, so the backward
 * pass can have values of its own instead of keeping those of the forward pass.
 */
export const again: MapOp = map({
  name: 'again',
  rounding: 0,
  apart: true,
  doc: 'x, for values that are computed a second time',
  arity: 1,
  flops: 0,
  sample: [-4, 4],
  accuracy: within(0),
  dtype: ([dtype = 'f32']) => dtype,
  eval: ([x = NaN]) => x,
  wgsl: ([x]) => x as Code,
  grad: (_m, dy) => [dy],
});

function castNumber(x: number, dtype: DType): number {
  if (dtype === 'bool') return Number(x !== 0);
  if (Number.isNaN(x) && (dtype === 'i32' || dtype === 'u32')) return 0;
  if (dtype === 'i32') return Math.max(-2147483648, Math.min(2147483647, Math.trunc(x)));
  if (dtype === 'u32') return Math.max(0, Math.min(4294967295, Math.trunc(x)));
  return x;
}

function castCode(x: Code, result: WgslType): Code {
  const to = scalarType(result);
  const from = scalarType(x.type);
  if (to === from) return x;
  const wide = like(x.type, to);
  // WGSL's != is false for NaN, which is true as a bool.
  if (to === 'bool') return code(`(!(${x.text} == ${splat(literal(0, from), x.type).text}))`, wide, x.needs);
  // Whole numbers are brought into range, as in the reference; a WGSL conversion would keep the bits.
  if (from === 'i32' && to === 'u32')
    return code(`${wide}(max(${x.text}, ${splat(literal(0, 'i32'), x.type).text}))`, wide, x.needs);
  if (from === 'u32' && to === 'i32')
    return code(`${wide}(min(${x.text}, ${splat(literal(2147483647, 'u32'), x.type).text}))`, wide, x.needs);
  if (from === 'f32' && (to === 'i32' || to === 'u32')) {
    const made = call(to === 'i32' ? wholeSigned : wholeUnsigned, x);
    return code(made.text, wide, made.needs);
  }
  return code(`${wide}(${x.text})`, wide, x.needs);
}
