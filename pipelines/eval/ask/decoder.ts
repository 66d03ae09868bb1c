// Pictures decoded beside everything else: the thread that runs the model only hands bytes over.
import { Worker } from 'node:worker_threads';
import type { Image } from '../../../runtime/image/image.ts';
import { siblingModule } from '../../../runtime/files/package-files.ts';
import { PictureError } from '../errors.ts';
import type { Decoded, ToDecode } from './decode-worker.ts';

interface Waiting {
  readonly resolve: (image: Image) => void;
  readonly reject: (error: unknown) => void;
}

export class PictureDecoder {
  readonly #worker: Worker;
  readonly #upright: boolean;
  readonly #waiting = new Map<number, Waiting>();
  #next = 0;
  #broken: unknown;

  /** `upright`: turned as the camera was held. */
  constructor(upright: boolean) {
    this.#upright = upright;
    this.#worker = new Worker(siblingModule(import.meta.url, 'decode-worker'));
    this.#worker.on('message', (given: Decoded) => {
      const waiting = this.#waiting.get(given.id);
      this.#waiting.delete(given.id);
      if ('image' in given) waiting?.resolve(given.image);
      else waiting?.reject(new PictureError(given.refused));
    });
    this.#worker.on('error', (error) => {
      this.#broken = error;
      for (const { reject } of this.#waiting.values()) reject(error);
      this.#waiting.clear();
    });
  }

  /** The pixels of a file's bytes. Throws `PictureError` for what does not decode. */
  decode(bytes: Uint8Array, name: string): Promise<Image> {
    if (this.#broken !== undefined) return Promise.reject(this.#broken);
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      const wanted: ToDecode = { id, bytes, name, upright: this.#upright };
      this.#worker.postMessage(wanted);
    });
  }

  async close(): Promise<void> {
    await this.#worker.terminate();
  }
}
