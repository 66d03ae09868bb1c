// Decodes pictures on a thread of its own: bytes in, pixels out.
import { parentPort } from 'node:worker_threads';
import { OpabiniaError } from '../../../dsl/error.ts';
import { decodeImage, type Image } from '../../../runtime/image/image.ts';

export interface ToDecode {
  readonly id: number;
  readonly bytes: Uint8Array;
  readonly name: string;
  readonly upright: boolean;
}

/** A refusal crosses threads as its text. */
export type Decoded = { readonly id: number } & ({ readonly image: Image } | { readonly refused: string });

parentPort?.on('message', (wanted: ToDecode) => {
  void decoded(wanted).then((given) =>
    parentPort?.postMessage(given, 'image' in given ? [given.image.rgb.buffer as ArrayBuffer] : []),
  );
});

async function decoded({ id, bytes, name, upright }: ToDecode): Promise<Decoded> {
  try {
    const { width, height, rgb } = await decodeImage(bytes, { name, upright });
    // Of its own: what is handed over must not be a part of a pool.
    return { id, image: { width, height, rgb: rgb.byteLength === rgb.buffer.byteLength ? rgb : rgb.slice() } };
  } catch (error) {
    return { id, refused: error instanceof OpabiniaError ? error.what : String(error) };
  }
}
