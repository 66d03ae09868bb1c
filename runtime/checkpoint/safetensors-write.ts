// Writes safetensors files: tensors in the given order, header padded so that the data is 8-byte aligned.
import { sizeProduct } from '../../dsl/axis/axes.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { AtomicFile, type AtomicOptions } from '../files/atomic-file.ts';
import type { StoredDType } from './safetensors.ts';
import { encodeStored } from './stored-values.ts';
import { requireFields, requireList, requireOptions } from '../../dsl/graph/required.ts';

export interface TensorToStore {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
  /** Row-major. */
  readonly values: ArrayLike<number>;
}

/** The bytes of a file. Throws `OpabiniaError` when a name stands twice or a shape does not fit its values. */
export function encodeSafetensors(
  tensors: readonly TensorToStore[],
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  return Buffer.concat(partsOf(tensors, metadata));
}

/** The header, and the bytes of every tensor. */
function partsOf(tensors: readonly TensorToStore[], metadata: Readonly<Record<string, string>>): readonly Uint8Array[] {
  const call = "[{ name: 'y', dtype: 'F32', shape: [2], values: [1, 2] }]";
  requireList('writeSafetensors', tensors, 'the tensors', call);
  const fields = { name: 'string', dtype: 'string', shape: 'object', values: 'object' } as const;
  for (const tensor of tensors) requireFields('writeSafetensors', tensor, fields, call, 'a tensor');
  requireOptions('writeSafetensors', metadata, "{ format: 'pt' }", 'the metadata');
  const header = new Map<string, unknown>(Object.keys(metadata).length === 0 ? [] : [['__metadata__', metadata]]);
  const parts: Uint8Array[] = [];
  let end = 0;
  for (const { name, dtype, shape, values } of tensors) {
    const count = sizeProduct(shape);
    if (count !== values.length)
      throw new OpabiniaError(
        `'${name}' has shape ${shape.join('×')}, ${count} elements, but ${values.length} values`,
        { op: 'writeSafetensors' },
      );
    if (header.has(name)) throw new OpabiniaError(`'${name}' stands twice`, { op: 'writeSafetensors' });
    const bytes = encodeStored(dtype, values);
    header.set(name, { dtype, shape, data_offsets: [end, end + bytes.byteLength] });
    parts.push(bytes);
    end += bytes.byteLength;
  }
  // Entries one by one: an object literal would give names such as `__proto__` or `1` a meaning or another order.
  const json = Buffer.from(
    `{${[...header].map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`,
  );
  const padded = Math.ceil(json.byteLength / 8) * 8;
  const out = Buffer.alloc(8 + padded, ' ');
  out.writeBigUInt64LE(BigInt(padded), 0);
  out.set(json, 8);
  return [out, ...parts];
}

/**
 * Writes the file whole or not at all. Throws `OpabiniaError`.
 * @example writeSafetensors('out.safetensors', [{ name: 'y', dtype: 'F32', shape: [2], values: new Float32Array(2) }])
 */
export function writeSafetensors(
  path: string,
  tensors: readonly TensorToStore[],
  metadata: Readonly<Record<string, string>> = {},
  options: AtomicOptions = {},
): void {
  const parts = partsOf(tensors, metadata);
  const file = new AtomicFile(path, options);
  for (const part of parts) file.write(part);
  file.commit();
}
