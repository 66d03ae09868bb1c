// How many requests, and how many bytes of their pictures, are in the house at once; more are sent away before they cost anything.
import type { Image } from '../../runtime/image/image.ts';
import { ApiError } from './api-error.ts';

export class House {
  readonly #most: number;
  readonly #mostBytes: number;
  #inside = 0;
  #bytes = 0;
  #closing = false;
  readonly #empty: (() => void)[] = [];
  /** Pictures are decoded one behind the other: each may take a hundred times its bytes. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(mostRequests: number, mostPictureBytes: number) {
    this.#most = mostRequests;
    this.#mostBytes = mostPictureBytes;
  }

  get inside(): number {
    return this.#inside;
  }

  get closing(): boolean {
    return this.#closing;
  }

  /** A place; whoever has it leaves it once. Throws `ApiError` 429, or 503 when the house is closing. `retryAfter`: seconds. */
  enter(retryAfter: () => number): Guest {
    if (this.#closing) throw new ApiError(503, 'the server is closing', { code: 'closing', retryAfter: retryAfter() });
    if (this.#inside >= this.#most)
      throw new ApiError(429, `${this.#inside} requests are answered or wait, the most that may`, {
        code: 'queue_full',
        retryAfter: retryAfter(),
      });
    this.#inside++;
    return new Guest(this, retryAfter, (bytes) => {
      this.#inside--;
      this.#bytes -= bytes;
      if (this.#inside === 0) for (const tell of this.#empty.splice(0)) tell();
    });
  }

  /** One picture, decoded when those before it are and while there is room. Throws `ApiError` 429. */
  async decode(task: () => Promise<Image>, retryAfter: () => number): Promise<Image> {
    const before = this.#last;
    const turn = Promise.withResolvers<undefined>();
    this.#last = turn.promise;
    await before;
    try {
      if (this.#bytes >= this.#mostBytes)
        throw new ApiError(429, 'the pictures of all requests together are too large', {
          code: 'pictures_full',
          retryAfter: retryAfter(),
        });
      const image = await task();
      this.#bytes += image.rgb.length;
      return image;
    } finally {
      turn.resolve(undefined);
    }
  }

  /** Nobody comes in any more; resolves when all have left. */
  async close(): Promise<void> {
    this.#closing = true;
    if (this.#inside === 0) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#empty.push(() => resolve(undefined));
    await promise;
  }
}

/** A request in the house. */
export class Guest {
  readonly #house: House;
  readonly #retryAfter: () => number;
  readonly #left: (bytes: number) => void;
  #bytes = 0;
  #gone = false;

  constructor(house: House, retryAfter: () => number, left: (bytes: number) => void) {
    this.#house = house;
    this.#retryAfter = retryAfter;
    this.#left = left;
  }

  async decode(task: () => Promise<Image>): Promise<Image> {
    const image = await this.#house.decode(task, this.#retryAfter);
    this.#bytes += image.rgb.length;
    return image;
  }

  leave(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#left(this.#bytes);
  }
}
