// GGUF files written for tests: settings and f32 tensors.
import { writeFileSync } from 'node:fs';

export type GgufSetting = string | number | boolean | readonly string[] | readonly number[] | readonly boolean[];

export interface TensorToWrite {
  readonly name: string;
  /** Row-major. */
  readonly shape: readonly number[];
  readonly values: ArrayLike<number>;
  /** Instead of f32 values: ggml's type and its bytes. */
  readonly raw?: { readonly type: number; readonly bytes: Uint8Array };
}

/** The bytes of a file: whole numbers as u32, others as f32. */
export function ggufBytes(
  settings: Readonly<Record<string, GgufSetting>>,
  tensors: readonly TensorToWrite[],
): Buffer<ArrayBuffer> {
  const chunks: Buffer[] = [];
  const u32 = (value: number): void => void chunks.push(Buffer.from(Uint32Array.of(value).buffer));
  const u64 = (value: number): void => void chunks.push(Buffer.from(BigUint64Array.of(BigInt(value)).buffer));
  const f32 = (value: number): void => void chunks.push(Buffer.from(Float32Array.of(value).buffer));
  const text = (value: string): void => {
    const bytes = Buffer.from(value);
    u64(bytes.length);
    chunks.push(bytes);
  };
  const typeOf = (value: string | number | boolean): number =>
    typeof value === 'string' ? 8 : typeof value === 'boolean' ? 7 : Number.isInteger(value) && value >= 0 ? 4 : 6;
  const scalar = (value: string | number | boolean, type: number): void => {
    if (typeof value === 'string') text(value);
    else if (typeof value === 'boolean') chunks.push(Buffer.of(Number(value)));
    else if (type === 4) u32(value);
    else f32(value);
  };
  chunks.push(Buffer.from('GGUF'));
  u32(3);
  u64(tensors.length);
  u64(Object.keys(settings).length);
  for (const [key, value] of Object.entries(settings)) {
    text(key);
    if (typeof value === 'object') {
      u32(9);
      const type = Math.max(...value.map(typeOf), 4);
      u32(type);
      u64(value.length);
      value.forEach((one) => scalar(one, type));
    } else {
      u32(typeOf(value));
      scalar(value, typeOf(value));
    }
  }
  let offset = 0;
  const bodies = tensors.map(({ values, raw }) => raw?.bytes ?? new Uint8Array(Float32Array.from(values).buffer));
  tensors.forEach(({ name, shape, raw }, i) => {
    text(name);
    u32(shape.length);
    shape.toReversed().forEach(u64);
    u32(raw?.type ?? 0);
    u64(offset);
    offset += Math.ceil((bodies[i]?.byteLength ?? 0) / 32) * 32;
  });
  const padded = (bytes: Uint8Array): Buffer =>
    Buffer.concat([bytes, Buffer.alloc((32 - (bytes.byteLength % 32)) % 32)]);
  return Buffer.concat([padded(Buffer.concat(chunks)), ...bodies.map(padded)]);
}

export function writeGguf(path: string, ...what: Parameters<typeof ggufBytes>): void {
  writeFileSync(path, ggufBytes(...what));
}
