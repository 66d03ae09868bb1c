// What a user may give as values of a dtype: typed arrays that hold them, and plain arrays, whose numbers are checked.
import { OpabiniaError } from '../../dsl/error.ts';
import type { DType } from '../../dsl/graph/op.ts';

export type TypedArray =
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float16Array
  | Float32Array
  | Float64Array;

export type Numbers = TypedArray | readonly number[];

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
    return at < 0 ? undefined : `element ${at} is ${String(values[at])}, which is not a number of ${dtype}`;
  }
  const kind = ArrayBuffer.isView(values) ? values.constructor.name : typeof values;
  if (!accepted[dtype].includes(kind))
    return `takes ${accepted[dtype].join(' or ')} or number[] for ${dtype}, got ${kind}`;
  return undefined;
}

function fits(value: number, dtype: DType): boolean {
  switch (dtype) {
    case 'f32':
    case 'f16':
    case 'bf16':
      return true;
    case 'i32':
      return Number.isInteger(value) && value >= -(2 ** 31) && value < 2 ** 31;
    case 'u32':
      return Number.isInteger(value) && value >= 0 && value < 2 ** 32;
    case 'bool':
      return value === 0 || value === 1;
    default:
      return dtype satisfies never;
  }
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
