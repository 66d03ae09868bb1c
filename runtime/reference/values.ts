// Dense values of a tensor on the CPU: row-major doubles whatever the dtype, and the rounding that the dtype asks for.
import { evaluateSize, type Axis, type SymbolValues } from '../../dsl/axis/axis.ts';
import type { DType } from '../../dsl/graph/op.ts';

/** An axis whose size is known in this run. */
export interface KnownAxis {
  readonly name: string;
  readonly size: number;
}

/** A tensor of one run, row-major in the order of `axes`. `data` is never written after it was made: views may share it. */
export interface Values {
  readonly axes: readonly KnownAxis[];
  readonly dtype: DType;
  readonly data: Float64Array;
}

/** `f64`: floats are not rounded. `f32`: each op's result is rounded to its dtype. A function rounds floats as it likes. Integers and bool are exact in all. */
export type Precision = 'f64' | 'f32' | ((x: number, dtype: DType) => number);

export function knownAxes(axes: readonly Axis[], symbols: SymbolValues): readonly KnownAxis[] {
  return axes.map((axis) => ({ name: axis.name, size: evaluateSize(axis.size, symbols) }));
}

export function elementCount(axes: readonly KnownAxis[]): number {
  return axes.reduce((count, axis) => count * axis.size, 1);
}

/** Row-major stride of each axis, by name. */
export function stridesOf(axes: readonly KnownAxis[]): ReadonlyMap<string, number> {
  const strides = new Map<string, number>();
  let stride = 1;
  for (const axis of axes.toReversed()) {
    strides.set(axis.name, stride);
    stride *= axis.size;
  }
  return strides;
}

const bits = new Uint32Array(1);
const floats = new Float32Array(bits.buffer);

/** The nearest bf16, ties to even; NaN stays NaN. */
export function roundToBf16(x: number): number {
  floats[0] = x;
  const word = bits[0] ?? 0;
  if (Number.isNaN(x)) return NaN;
  bits[0] = (word + 0x7fff + ((word >>> 16) & 1)) & 0xffff0000;
  return floats[0];
}

/** One number as its dtype would hold it: whole numbers wrap as on the device. */
export function roundNumber(x: number, dtype: DType, precision: Precision): number {
  switch (dtype) {
    case 'i32':
      return x | 0;
    case 'u32':
      return x >>> 0;
    case 'bool':
      return x === 0 ? 0 : 1;
    case 'f32':
    case 'f16':
    case 'bf16':
      if (typeof precision === 'function') return precision(x, dtype);
      return precision === 'f64' ? x : roundFloat(x, dtype);
    default:
      return dtype satisfies never;
  }
}

function roundFloat(x: number, dtype: 'f32' | 'f16' | 'bf16'): number {
  return dtype === 'f32' ? Math.fround(x) : dtype === 'f16' ? Math.f16round(x) : roundToBf16(x);
}

/** Rounds every element in place, for values that were just made. */
export function roundAll(data: Float64Array, dtype: DType, precision: Precision): Float64Array {
  if (precision === 'f32' && dtype === 'f32') {
    for (let i = 0; i < data.length; i++) data[i] = Math.fround(data[i] ?? 0);
  } else if (precision !== 'f64' || dtype === 'i32' || dtype === 'u32' || dtype === 'bool') {
    for (let i = 0; i < data.length; i++) data[i] = roundNumber(data[i] ?? 0, dtype, precision);
  }
  return data;
}
