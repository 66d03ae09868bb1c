// A tensor of a checkpoint as bytes for another file, piece by piece.
import type { Checkpoint } from './checkpoint.ts';
import type { TensorToStream } from './safetensors-stream.ts';

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
