// The token loop: prefill once, then a decode step a token, over programs that share their states.
import { OpabiniaError } from '../../dsl/error.ts';
import type { Inputs, RunOptions } from '../../runtime/program/program.ts';
import type { Runnable } from '../run/engine.ts';
import { plural } from '../../dsl/text/plural.ts';

/** Prompts that do not fit the context, found before anything runs. */
export class ContextOverflowError extends OpabiniaError {
  /** Tokens of the longest prompt, those of its images included, and the most that a prompt may have. */
  readonly tokens: number;
  readonly limit: number;
  constructor(tokens: number, limit: number, advice: string) {
    super(`the prompt has ${plural(tokens, 'token')}, those of its images included, and at most ${limit} fit`, {
      op: 'generate',
      advice,
    });
    this.name = new.target.name;
    this.tokens = tokens;
    this.limit = limit;
  }
}

/** Prefill and decode of one batch size, loaded by one engine or with the same `SharedBuffers`. */
export interface GenerationPrograms {
  readonly prefill: Runnable;
  readonly decode: Runnable;
  readonly batch: number;
  readonly capacity: number;
  readonly promptLimit: number;
  /** Decode steps that may be on the device at once (`atOnce` of its program): the next begin before a token is read. Default 1. */
  readonly ahead?: number | undefined;
}

/** The inputs of a prefill graph. Rows are padded on the right. */
export interface Prompts {
  readonly inputs: Inputs;
  /** Tokens of the longest row. */
  readonly width: number;
  readonly symbols: Readonly<Record<string, number>>;
  /**
   * The prompts with the tokens so far behind them, when the newest one brings a row to other rotations than its keys have (long-RoPE):
   * all of it is to be read again. Else undefined.
   */
  readonly again?: ((tokens: readonly Int32Array[]) => Prompts | undefined) | undefined;
}

export interface TokenOptions {
  /** Tokens of an answer; by default what the context has left. */
  readonly maxNewTokens?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Most tokens that answers may have behind prompts of this width. Throws `ContextOverflowError` when not even one fits. */
export function roomFor(
  width: number,
  { capacity, promptLimit }: Pick<GenerationPrograms, 'capacity' | 'promptLimit'>,
): number {
  const limit = Math.min(promptLimit, capacity - 1);
  if (width > limit)
    throw new ContextOverflowError(
      width,
      limit,
      'shorten the prompt, give fewer images, or open the model with a longer context',
    );
  return capacity - width;
}

/**
 * The new token of each row, step by step, the first from prefill. A consumer that has enough leaves the loop. Throws
 * `ContextOverflowError` before anything runs, the signal's reason when it is aborted, and what the device throws.
 */
export async function* generateTokens(
  programs: GenerationPrograms,
  prompts: Prompts,
  options: TokenOptions = {},
): AsyncGenerator<Int32Array, void, undefined> {
  const { prefill, decode, ahead = 1 } = programs;
  const { width } = prompts;
  const { signal, maxNewTokens = Infinity } = options;
  const most = Math.min(maxNewTokens, roomFor(width, programs));
  signal?.throwIfAborted();
  if (most < 1) return;
  let newest = await oneStep(prefill, prompts.inputs, prompts.symbols, signal);
  yield newest;
  const tokens: Int32Array[] = [];
  // Tokens in the cache, padding included.
  let past = width;
  const underWay: Promise<Int32Array>[] = [];
  try {
    for (let step = 1; step < most; step++) {
      signal?.throwIfAborted();
      tokens.push(newest);
      const whole = prompts.again?.(tokens);
      if (whole === undefined) {
        // No more than there are tokens already: what runs for nothing behind the last token is short beside the answer.
        const together = prompts.again === undefined ? Math.min(ahead, step, most - step) : 1;
        while (underWay.length < together) underWay.push(begun(oneStep(decode, {}, { past: past++ }, signal)));
        newest = (await underWay.shift()) ?? newest;
      } else {
        newest = await oneStep(prefill, whole.inputs, whole.symbols, signal);
        past = whole.width;
      }
      yield newest;
    }
  } finally {
    // Steps behind the last token write behind it, where nothing is read: the next prompt begins anew.
    await Promise.allSettled(underWay);
  }
}

/** The promise, whose failure is heard of where it is awaited. */
function begun<T>(promise: Promise<T>): Promise<T> {
  promise.catch(() => undefined);
  return promise;
}

async function oneStep(
  program: Runnable,
  inputs: Inputs,
  symbols: Readonly<Record<string, number>>,
  signal: AbortSignal | undefined,
): Promise<Int32Array> {
  const run = program.run(inputs, { symbols: knownSymbols(program, symbols), outputs: ['token'] } satisfies RunOptions);
  const { token } = await untilAborted(run, signal);
  if (!(token?.data instanceof Int32Array))
    throw new OpabiniaError("the program has no output 'token' of i32", {
      op: 'generate',
      advice: 'make it with prefillGraph and decodeGraph',
    });
  return token.data;
}

/** A symbol of a single value is a number in the graph, and no symbol of the program. */
export function knownSymbols(
  program: Pick<Runnable, 'symbols'>,
  symbols: Readonly<Record<string, number>>,
): Readonly<Record<string, number>> {
  return Object.fromEntries(
    Object.entries(symbols).filter(([name]) => program.symbols.some((symbol) => symbol.name === name)),
  );
}

/** The promise, or the signal's reason as soon as it is aborted; the work itself goes on unseen, and the next run waits for it. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  const aborted = Promise.withResolvers<never>();
  const refuse = (): void => aborted.reject(signal.reason);
  signal.addEventListener('abort', refuse, { once: true });
  try {
    if (signal.aborted) refuse();
    return await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', refuse);
    aborted.promise.catch(() => undefined);
    promise.catch(() => undefined);
  }
}
