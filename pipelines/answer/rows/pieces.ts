// What one side writes whenever it has something, and the other side awaits.
interface Waiting<T> {
  readonly resolve: (piece: T | undefined) => void;
  readonly reject: (error: unknown) => void;
}

export class Pieces<T> {
  readonly #there: T[] = [];
  #waiting: Waiting<T> | undefined;
  #end: { readonly error?: unknown } | undefined;

  push(piece: T): void {
    if (this.#end !== undefined) return;
    const waiting = this.#take();
    if (waiting === undefined) this.#there.push(piece);
    else waiting.resolve(piece);
  }

  /** No more comes; what is there is read first. */
  end(): void {
    this.#end ??= {};
    this.#take()?.resolve(undefined);
  }

  fail(error: unknown): void {
    this.#end ??= { error };
    this.#take()?.reject(error);
  }

  /** The next piece; undefined at the end. Throws what it failed with. One reader at a time. */
  async next(): Promise<T | undefined> {
    const piece = this.#there.shift();
    if (piece !== undefined) return piece;
    if (this.#end !== undefined) {
      if ('error' in this.#end) throw this.#end.error;
      return undefined;
    }
    const { promise, resolve, reject } = Promise.withResolvers<T | undefined>();
    this.#waiting = { resolve, reject };
    return promise;
  }

  #take(): Waiting<T> | undefined {
    const waiting = this.#waiting;
    this.#waiting = undefined;
    return waiting;
  }
}
