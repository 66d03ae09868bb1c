// Writes safetensors tensor by tensor, so that no more than one of them is in memory. The file has its name when it is whole.
import { sizeProduct } from '../../dsl/axis/axes.ts';
import { OpabiniaError } from '../../dsl/error.ts';
import { AtomicFile, type AtomicOptions } from '../files/atomic-file.ts';
import { breathe } from '../files/breathe.ts';
import type { Checkpoint } from './checkpoint.ts';
import { storedBytes, type StoredDType } from './safetensors.ts';
import { encodeStored } from './stored-values.ts';

export type TensorToStream = {
  readonly name: string;
  readonly dtype: StoredDType;
  readonly shape: readonly number[];
} & (
  | {
      /** Row-major. */
      readonly values: () => Promise<ArrayLike<number>>;
    }
  | {
      /** Stored bytes, piece by piece. */
      readonly pieces: () => Iterable<Uint8Array>;
    }
);

/**
 * Throws `OpabiniaError` when a tensor has another number of values than its shape says, and when the disk is full; the
 * reason of the signal once it is aborted. Nothing is left then.
 */
export async function streamSafetensors(
  path: string,
  tensors: readonly TensorToStream[],
  metadata: Readonly<Record<string, string>>,
  { signal, ...options }: AtomicOptions & { readonly signal?: AbortSignal | undefined } = {},
): Promise<void> {
  const header = new Map<string, unknown>([['__metadata__', metadata]]);
  let end = 0;
  for (const { name, dtype, shape } of tensors) {
    if (header.has(name)) throw new OpabiniaError(`'${name}' stands twice`, { op: 'write' });
    const bytes = sizeProduct(shape) * storedBytes[dtype];
    header.set(name, { dtype, shape, data_offsets: [end, end + bytes] });
    end += bytes;
  }
  const text = Buffer.from(
    `{${[...header].map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`,
  );
  const start = Buffer.alloc(8 + Math.ceil(text.byteLength / 8) * 8, ' ');
  start.writeBigUInt64LE(BigInt(start.byteLength - 8), 0);
  start.set(text, 8);
  const file = new AtomicFile(path, options);
  try {
    file.write(start);
    for (const tensor of tensors) {
      const { name, dtype, shape } = tensor;
      const count = sizeProduct(shape);
      const wrong = (given: number) =>
        new OpabiniaError(`'${name}' has shape ${shape.join('×')}, and ${given} values`, { op: 'write' });
      if ('pieces' in tensor) {
        let bytes = 0;
        for (const piece of tensor.pieces()) {
          bytes += piece.byteLength;
          if (bytes > count * storedBytes[dtype]) break;
          file.write(piece);
          await breathe(signal);
        }
        if (bytes !== count * storedBytes[dtype]) throw wrong(bytes / storedBytes[dtype]);
        continue;
      }
      await breathe(signal);
      const given = await tensor.values();
      if (given.length !== count) throw wrong(given.length);
      file.write(encodeStored(dtype, given));
    }
    file.commit();
  } catch (error) {
    file.abort();
    throw error;
  }
}

const pieceBytes = 2 ** 23;

/** As it is stored, to the bit. */
export function storedPieces(checkpoint: Checkpoint, name: string): TensorToStream {
  const tensor = checkpoint.stored.get(name);
  if (tensor === undefined) throw new TypeError(`no tensor '${name}'`);
  return {
    name,
    dtype: tensor.dtype,
    shape: tensor.shape,
    *pieces() {
      for (let at = 0; at < tensor.bytes; at += pieceBytes) {
        const piece = new Uint8Array(Math.min(pieceBytes, tensor.bytes - at));
        checkpoint.readInto(name, piece, at);
        yield piece;
      }
    },
  };
}
