// One question on its way: waiting, in a row, answered; and what whoever asked it reads meanwhile.
import type { AnswerText, EndReason } from '../../../runtime/text/answer-text.ts';
import type { Decoder } from '../../../runtime/text/tokenizer.ts';
import type { LaidOut } from '../family.ts';
import type { Prompts } from '../generate.ts';
import type { Draw } from '../session-plans.ts';
import type { AskOptions, RowAnswer } from './asking.ts';
import { Pieces } from './pieces.ts';
import { tokenScore } from './token-score.ts';

export interface AskedParts {
  readonly laid: LaidOut;
  readonly prompts: Prompts;
  readonly draw: Draw;
  /** Tokens that the answer may have. */
  readonly most: number;
  readonly text: AnswerText;
  /** Told of each token's score. */
  readonly scores?: AskOptions['scores'];
}

export class Asked {
  readonly laid: LaidOut;
  /** The prompt by itself. */
  readonly prompts: Prompts;
  readonly draw: Draw;
  /** Whoever asked does not read any more. */
  left = false;
  readonly #text: AnswerText;
  readonly #most: number;
  readonly #scores: AskOptions['scores'];
  readonly #pieces = new Pieces<string>();
  readonly #tokens: Int32Array[] = [];
  #over = false;

  constructor({ laid, prompts, draw, most, text, scores }: AskedParts) {
    this.laid = laid;
    this.prompts = prompts;
    this.draw = draw;
    this.#most = most;
    this.#text = text;
    this.#scores = scores;
  }

  /** Nothing is to be computed for it any more. */
  get over(): boolean {
    return this.#over || this.left;
  }

  /** Tokens in the row's cache when its newest one has been read. */
  get keys(): number {
    return this.prompts.width + this.#tokens.length;
  }

  /** Whether scores are read back with its tokens. */
  get scored(): boolean {
    return this.#scores !== undefined;
  }

  get steps(): number {
    return this.#tokens.length;
  }

  /** The prompt with the answer so far behind it, where its newest token brings it to other rotations. */
  again(): Prompts | undefined {
    return this.prompts.again?.(this.#tokens);
  }

  /** A token of the answer, and the scores that it was drawn from, where they were asked for. */
  async take(token: number, scores?: ArrayLike<number>): Promise<void> {
    if (this.over) return;
    this.#tokens.push(Int32Array.of(token));
    const before = this.#text.tokens.length;
    const words = await this.#text.push(token);
    // The token that ends an answer is none of its tokens.
    if (scores !== undefined && this.#text.tokens.length > before)
      this.#scores?.told(tokenScore(scores, token, this.#scores.top));
    this.#give(words);
    if (this.#text.ended === undefined && this.#tokens.length >= this.#most) await this.stop('length');
    if (this.#text.ended !== undefined) this.#finish();
  }

  /** Ends it as it is. */
  async stop(reason: EndReason): Promise<void> {
    this.#give(await this.#text.end(reason));
    this.#finish();
  }

  fail(error: unknown): void {
    this.#over = true;
    this.#pieces.fail(error);
  }

  /** The next whole words; undefined when the answer is complete. Throws what it failed with. */
  async next(): Promise<string | undefined> {
    return this.#pieces.next();
  }

  get answer(): RowAnswer {
    const { text, tokens, ended = 'length' } = this.#text;
    return { text, tokens, reason: ended, promptTokens: this.prompts.width };
  }

  #give(text: string): void {
    if (text !== '') this.#pieces.push(text);
  }

  #finish(): void {
    this.#over = true;
    this.#pieces.end();
  }
}

/** What decoders of many answers are asked in the same turn goes to the tokenizer as one request. */
export function togetherDecoder(decoder: Decoder): Decoder {
  let open: { readonly lists: (readonly number[])[]; readonly texts: Promise<readonly string[]> } | undefined;
  return {
    decodeAll: async (lists) => {
      open ??= gather();
      const { texts, lists: all } = open;
      const from = all.push(...lists) - lists.length;
      return (await texts).slice(from, from + lists.length);
    },
  };

  function gather(): NonNullable<typeof open> {
    const lists: (readonly number[])[] = [];
    const texts = Promise.resolve().then(async () => {
      open = undefined;
      return decoder.decodeAll(lists);
    });
    return { lists, texts };
  }
}
