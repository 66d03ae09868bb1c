// Between stored bytes and numbers: the element types of safetensors, little-endian, decoded exactly.
import { narrowBf16, widenBf16 } from '../../dsl/graph/elements.ts';
import type { StoredDType } from './safetensors.ts';

export type StoredArray = Float64Array | Float32Array | Int32Array | Uint32Array | BigInt64Array | Uint8Array;

/** The values in the narrowest array that holds them exactly: f16 and bf16 widen to f32, bool is 0 or 1. `bytes` may be unaligned. */
export function decodeStored(dtype: StoredDType, bytes: Uint8Array): StoredArray {
  switch (dtype) {
    case 'F32':
      return new Float32Array(aligned(bytes));
    case 'F64':
      return new Float64Array(aligned(bytes));
    case 'I32':
      return new Int32Array(aligned(bytes));
    case 'U32':
      return new Uint32Array(aligned(bytes));
    case 'I64':
      return new BigInt64Array(aligned(bytes));
    case 'F16':
      return Float32Array.from(new Float16Array(aligned(bytes)));
    case 'BF16':
      return widenBf16(new Uint16Array(aligned(bytes)));
    case 'U8':
      return Uint8Array.from(bytes);
    case 'BOOL':
      return Uint8Array.from(bytes, (byte) => (byte === 0 ? 0 : 1));
    default:
      return dtype satisfies never;
  }
}

/** The values as f32, rounded where the stored type is wider. */
export function decodeAsF32(dtype: StoredDType, bytes: Uint8Array): Float32Array {
  const values = decodeStored(dtype, bytes);
  if (values instanceof Float32Array) return values;
  return values instanceof BigInt64Array ? Float32Array.from(values, Number) : Float32Array.from(values);
}

function aligned(bytes: Uint8Array): ArrayBuffer {
  return bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength) as ArrayBuffer;
}

/** Numbers to stored bytes; f16 and bf16 round to nearest even. What is in its stored form already is not copied. */
export function encodeStored(dtype: StoredDType, values: ArrayLike<number>): Uint8Array {
  switch (dtype) {
    case 'F32':
      return bytesOf(values instanceof Float32Array ? values : new Float32Array(values));
    case 'F64':
      return bytesOf(values instanceof Float64Array ? values : new Float64Array(values));
    case 'I32':
      return bytesOf(values instanceof Int32Array ? values : new Int32Array(values));
    case 'U32':
      return bytesOf(values instanceof Uint32Array ? values : new Uint32Array(values));
    case 'I64':
      return bytesOf(BigInt64Array.from({ length: values.length }, (_, i) => BigInt(values[i] ?? 0)));
    case 'F16':
      return bytesOf(values instanceof Float16Array ? values : new Float16Array(values));
    case 'BF16':
      return bytesOf(narrowBf16(values instanceof Float32Array ? values : new Float32Array(values)));
    case 'U8':
      return new Uint8Array(values);
    case 'BOOL':
      return new Uint8Array(values).map((_, i) => (values[i] === 0 ? 0 : 1));
    default:
      return dtype satisfies never;
  }
}

function bytesOf({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}
