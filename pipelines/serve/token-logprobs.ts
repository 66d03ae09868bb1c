// How likely an answer's tokens were, in OpenAI's form: each token as the text that it adds, and as bytes.
import type { Decoder } from '../../runtime/text/tokenizer.ts';
import type { Likely, TokenScore } from '../answer/rows/token-score.ts';

interface NamedToken {
  readonly token: string;
  readonly logprob: number;
  /** Null for a token that is a part of a character. */
  readonly bytes: readonly number[] | null;
}

export interface TokenLogprob extends NamedToken {
  readonly top_logprobs: readonly NamedToken[];
}

/** In the place of −∞, which JSON has no word for; OpenAI's own. */
const never = -9999;
/** What a decoder gives for bytes that are not a whole character. */
const broken = '\ufffd';

/** The scores of one answer as they become known, each given out once. */
export class TokenLogprobs {
  readonly #decoder: Decoder;
  readonly #scores: TokenScore[] = [];
  #given = 0;

  constructor(decoder: Decoder) {
    this.#decoder = decoder;
  }

  push(score: TokenScore): void {
    this.#scores.push(score);
  }

  /** Those that were not given out yet. */
  async take(): Promise<readonly TokenLogprob[]> {
    const from = this.#given;
    const fresh = this.#scores.slice(from);
    this.#given += fresh.length;
    return Promise.all(fresh.map(async (score, i) => this.#named(score, this.#scores[from + i - 1]?.token)));
  }

  /** The text of a token may depend on the one before it: a first word loses its space. */
  async #named(score: TokenScore, before: number | undefined): Promise<TokenLogprob> {
    const ids = [score, ...score.top].map(({ token }) => token);
    const head = before === undefined ? [] : [before];
    const [alone = '', ...texts] = await this.#decoder.decodeAll([head, ...ids.map((id) => [...head, id])]);
    const [own, ...others] = [score, ...score.top].map((likely, i) => {
      const text = texts[i] ?? '';
      return named(likely, text.startsWith(alone) ? text.slice(alone.length) : text);
    });
    return { ...(own ?? named(score, '')), top_logprobs: others };
  }
}

function named({ logprob }: Likely, token: string): NamedToken {
  return {
    token,
    logprob: Math.max(logprob, never),
    bytes: token.includes(broken) ? null : [...Buffer.from(token)],
  };
}
