// What is asked of a session that answers many questions at once, each in a row of its own: its options, a question's, an answer.
import type { EndReason } from '../../../runtime/text/answer-text.ts';
import type { Progress } from '../../../runtime/program/upload.ts';
import type { PromptOptions, Question } from '../family.ts';
import type { TokenScore } from './token-score.ts';

export interface RowSessionOptions {
  /** Questions that are answered at once; more wait their turn. 8 by default. */
  readonly rows?: number | undefined;
  /** Tokens of one prompt and its answer together; by default 2048, or what the model knows if that is less. */
  readonly context?: number | undefined;
  /** Pictures of one question; 1 by default. */
  readonly images?: number | undefined;
  /** greedy: only questions without a temperature and a repetition penalty can be asked, and less is compiled. any, the default: both. */
  readonly draws?: 'greedy' | 'any' | undefined;
  /** Told of each parameter that is loaded. */
  readonly progress?: Progress | undefined;
  readonly note?: ((what: string) => void) | undefined;
  /** Told when compiling, which holds the thread, is over. */
  readonly compiled?: (() => void) | undefined;
}

export interface AskOptions extends PromptOptions {
  /** Tokens of the answer; by default what the context has left. */
  readonly maxNewTokens?: number | undefined;
  readonly stop?: readonly string[] | undefined;
  /** Whoever asked leaves: the row is free for the next question. */
  readonly signal?: AbortSignal | undefined;
  /** Told of each token of the answer, before its words: how likely it was, and the `top` likeliest. Reads all scores back from the device. */
  readonly scores?: { readonly top: number; readonly told: (score: TokenScore) => void } | undefined;
  /** Told when it is found that the question can be asked, and that it waits for a row. */
  readonly accepted?: (() => void) | undefined;
}

export interface RowAnswer {
  readonly text: string;
  /** Without the one that ended it. */
  readonly tokens: readonly number[];
  readonly reason: EndReason;
  /** Tokens of the prompt, those of its pictures included. */
  readonly promptTokens: number;
}

/** Any number of questions, asked whenever; `RowSession` is one. */
export interface Answering {
  /**
   * Begins with the first `next()`: yields whole words, returns the answer. Throws `OpabiniaError` for what cannot be asked,
   * `ContextOverflowError`, the signal's reason. Leaving the loop gives the row back.
   */
  ask(question: Question, options?: AskOptions): AsyncGenerator<string, RowAnswer, undefined>;
}
