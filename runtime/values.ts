// Between the user's arrays and the bytes of a buffer, per dtype: f16 and bf16 rounded to nearest even, bool as u32 0 or 1.
import { OpabiniaError } from '../dsl/error.ts';
import type { DType } from '../dsl/op.ts';

export type TypedArray =
  | Int8Array | Uint8Array | Uint8ClampedArray | Int16Array | Uint16Array | Int32Array | Uint32Array | Float16Array | Float32Array | Float64Array;

export type Numbers = TypedArray | readonly number[];

/** Bytes of one element in a buffer. */
export const bytesOf: Readonly<Record<DType, number>> = { f32: 4, i32: 4, u32: 4, bool: 4, f16: 2, bf16: 2 };

/** Arrays that hold a dtype's values as they are; numbers of a plain array are converted and checked. */
const accepted: Readonly<Record<DType, readonly string[]>> = {
  f32: ['Float32Array', 'Float16Array'],
  f16: ['Float16Array', 'Float32Array'],
  bf16: ['Float32Array'],
  i32: ['Int32Array', 'Int16Array', 'Int8Array', 'Uint16Array', 'Uint8Array'],
  u32: ['Uint32Array', 'Uint16Array', 'Uint8Array'],
  bool: ['Uint8Array', 'Uint32Array'],
};

/** Why these values cannot be an input of this dtype; undefined when they can. */
export function refusal(values: unknown, dtype: DType): string | undefined {
  if (Array.isArray(values)) {
    const at = values.findIndex((value) => typeof value !== 'number' || !fits(value, dtype));
    return at < 0 ? undefined : `element ${at} is ${String(values[at])}, which is no ${dtype}`;
  }
  const kind = ArrayBuffer.isView(values) ? values.constructor.name : typeof values;
  if (!accepted[dtype].includes(kind)) return `takes ${accepted[dtype].join(' or ')} or number[] for ${dtype}, got ${kind}`;
  return undefined;
}

function fits(value: number, dtype: DType): boolean {
  switch (dtype) {
    case 'f32': case 'f16': case 'bf16': return true;
    case 'i32': return Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 31;
    case 'u32': return Number.isInteger(value) && value >= 0 && value < 2 ** 32;
    case 'bool': return value === 0 || value === 1;
    default: return dtype satisfies never;
  }
}

/** The values as a buffer holds them: the same memory where nothing has to change, a new array otherwise. */
export function toBytes(values: Numbers, dtype: DType): ArrayBufferView<ArrayBufferLike> {
  switch (dtype) {
    case 'f32': return values instanceof Float32Array ? values : Float32Array.from(values);
    case 'f16': return values instanceof Float16Array ? values : Float16Array.from(values);
    case 'bf16': return toBfloat(values instanceof Float32Array ? values : Float32Array.from(values));
    case 'i32': return values instanceof Int32Array ? values : Int32Array.from(values);
    case 'u32': return values instanceof Uint32Array ? values : Uint32Array.from(values);
    case 'bool': return Uint32Array.from(values, (value) => (value === 0 ? 0 : 1));
    default: return dtype satisfies never;
  }
}

/** A result as a typed array of its own dtype: bf16 comes as Float32Array, bool as Uint8Array. */
export function fromBytes(bytes: ArrayBuffer, dtype: DType, elements: number): Float32Array | Float16Array | Int32Array | Uint32Array | Uint8Array {
  switch (dtype) {
    case 'f32': return new Float32Array(bytes, 0, elements);
    case 'f16': return new Float16Array(bytes, 0, elements);
    case 'bf16': return Float32Array.from(new Uint16Array(bytes, 0, elements), (bits) => {
      wide.u[0] = bits * 65536;
      return wide.f[0] ?? 0;
    });
    case 'i32': return new Int32Array(bytes, 0, elements);
    case 'u32': return new Uint32Array(bytes, 0, elements);
    case 'bool': return Uint8Array.from(new Uint32Array(bytes, 0, elements), (bit) => (bit === 0 ? 0 : 1));
    default: return dtype satisfies never;
  }
}

const pair = new ArrayBuffer(4);
const wide = { f: new Float32Array(pair), u: new Uint32Array(pair) };

function toBfloat(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  return Uint16Array.from(bits, (u) => {
    // A NaN whose payload is in the low half would round to infinity.
    if ((u & 0x7fffffff) > 0x7f800000) return (u >>> 16) | 0x40;
    return (u + 0x7fff + ((u >>> 16) & 1)) >>> 16;
  });
}

/** Values themselves, rather than { data, sizes }; whether they are of a dtype is for `refusal` to say. */
export function isNumbers(value: object): value is Numbers {
  return Array.isArray(value) || ArrayBuffer.isView(value);
}

/** `count` elements are expected. Throws when the array has another number. */
export function checkCount(what: string, axes: string, count: number, got: number): void {
  if (count === got) return;
  throw new OpabiniaError(`${what} ${axes} takes ${count} elements, got ${got}`, { op: 'run' });
}
