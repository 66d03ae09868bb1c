// From the tokens of one answer to its text: words as they become complete, up to a token or a string that ends it.
import { TextStream, type Decoder } from './tokenizer.ts';

/** length: as many tokens as were allowed; end: the model's own token; stop: a stop string. */
export type EndReason = 'length' | 'end' | 'stop';

export interface AnswerOptions {
  /** Tokens that end an answer. */
  readonly endTokens: ReadonlySet<number>;
  /** Strings that end it; they are not part of it. */
  readonly stop?: readonly string[] | undefined;
}

export class AnswerText {
  readonly #stream: TextStream;
  readonly #options: AnswerOptions;
  /** Complete words that may be the start of a stop string. */
  #held = '';
  #text = '';
  #tokens: number[] = [];
  #ended: EndReason | undefined;

  constructor(decoder: Decoder, options: AnswerOptions) {
    this.#stream = new TextStream(decoder);
    this.#options = { ...options, stop: options.stop?.filter((text) => text !== '') };
  }

  /** Undefined while the answer goes on. */
  get ended(): EndReason | undefined {
    return this.#ended;
  }

  /** All text so far. */
  get text(): string {
    return this.#text;
  }

  /** All tokens so far, without the one that ended it. */
  get tokens(): readonly number[] {
    return this.#tokens;
  }

  /** The text that is complete with this token; empty after the end. */
  async push(token: number): Promise<string> {
    if (this.#ended !== undefined) return '';
    if (this.#options.endTokens.has(token)) return this.end('end');
    this.#tokens.push(token);
    const more = await this.#stream.push(token);
    const known = this.#held + more + this.#stream.word;
    // Not only when the word is complete: without a space behind it, that may be never.
    if (this.#options.stop?.some((text) => known.includes(text)) !== true) return this.#take(more, false);
    this.#held += more;
    return this.end('stop');
  }

  /** What is left. The reason stays the first one given. */
  async end(reason: EndReason): Promise<string> {
    if (this.#ended !== undefined) return '';
    const rest = this.#take(await this.#stream.end(), true);
    this.#ended ??= reason;
    return rest;
  }

  #take(more: string, last: boolean): string {
    const all = this.#held + more;
    const { stop = [] } = this.#options;
    const at = Math.min(...stop.map((text) => all.indexOf(text)).filter((found) => found >= 0));
    if (Number.isFinite(at)) this.#ended = 'stop';
    const upTo = Number.isFinite(at) ? at : last ? all.length : all.length - heldBack(all, stop);
    this.#held = this.#ended === undefined ? all.slice(upTo) : '';
    const given = all.slice(0, upTo);
    this.#text += given;
    return given;
  }
}

/** Characters at the end of a text that may be the beginning of a stop string. */
function heldBack(text: string, stop: readonly string[]): number {
  let most = 0;
  for (const end of stop) {
    for (let length = Math.min(text.length, end.length - 1); length > most; length--)
      if (text.endsWith(end.slice(0, length))) most = length;
  }
  return most;
}
