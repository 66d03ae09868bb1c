// Elements of a tensor in memory, per dtype: their bytes, and numbers as arrays of them. f16 and bf16 are rounded to nearest even, bool is
// a u32 that is 0 or 1.
import type { DType } from './op.ts';

const widths = { f32: 4, f16: 2, bf16: 2, i32: 4, u32: 4, bool: 4 } as const satisfies Record<DType, number>;

/** Bytes of one element. */
export function dtypeBytes(dtype: DType): number {
  return widths[dtype];
}

export type ElementArray = Float32Array | Float16Array | Int32Array | Uint32Array;

/** Numbers as the array that holds a dtype's values, bf16 in a Float32Array: the same array where nothing has to change, a new one otherwise. */
export function toArray(values: ArrayLike<number>, dtype: DType): ElementArray {
  switch (dtype) {
    case 'f32':
    case 'bf16':
      return values instanceof Float32Array ? values : Float32Array.from(values);
    case 'f16':
      return values instanceof Float16Array ? values : Float16Array.from(values);
    case 'i32':
      return values instanceof Int32Array ? values : Int32Array.from(values);
    case 'u32':
      return values instanceof Uint32Array ? values : Uint32Array.from(values);
    case 'bool':
      return Uint32Array.from(values, (value) => (value === 0 ? 0 : 1));
    default:
      return dtype satisfies never;
  }
}

/** Numbers as a buffer holds them: the same memory where nothing has to change, a new array otherwise. */
export function toBytes(values: ArrayLike<number>, dtype: DType): ElementArray | Uint16Array {
  return dtype === 'bf16'
    ? narrowBf16(values instanceof Float32Array ? values : Float32Array.from(values))
    : toArray(values, dtype);
}

/** What a buffer holds as a typed array of its own dtype: bf16 comes as Float32Array, bool as Uint8Array. */
export function fromBytes(bytes: ArrayBuffer, dtype: DType, elements: number): ElementArray | Uint8Array {
  switch (dtype) {
    case 'f32':
      return new Float32Array(bytes, 0, elements);
    case 'f16':
      return new Float16Array(bytes, 0, elements);
    case 'bf16':
      return widenBf16(new Uint16Array(bytes, 0, elements));
    case 'i32':
      return new Int32Array(bytes, 0, elements);
    case 'u32':
      return new Uint32Array(bytes, 0, elements);
    case 'bool':
      return Uint8Array.from(new Uint32Array(bytes, 0, elements), (bit) => (bit === 0 ? 0 : 1));
    default:
      return dtype satisfies never;
  }
}

/** bf16 is the upper half of an f32. */
export function widenBf16(halves: Uint16Array): Float32Array {
  return new Float32Array(Uint32Array.from(halves, (half) => half << 16).buffer);
}

/** The nearest bf16, ties to even; NaN stays NaN. */
export function narrowBf16(values: Float32Array): Uint16Array<ArrayBuffer> {
  return Uint16Array.from(new Uint32Array(values.buffer, values.byteOffset, values.length), (bits) => {
    // A NaN whose payload is in the low half would round to infinity.
    if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
    return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
  });
}

/** The nearest whole number, of two the even one: as IEEE 754 and Python's `round` have it. */
export function roundToEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}
