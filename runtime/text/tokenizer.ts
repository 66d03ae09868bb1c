// Text to token ids and back, from `tokenizer.json`. What a user wrote can never become a control token, and images never come from text;
// words that were added to a vocabulary are words.
import { randomBytes } from 'node:crypto';
import { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { OpabiniaError } from '../../dsl/error.ts';
import { useTables } from './precompiled.ts';
import {
  checkTokenizerJson,
  isBlank,
  isWord,
  renamed,
  spaced,
  unigramBytes,
  type AddedToken,
  type ByteIds,
} from './tokenizer-json.ts';
import { tieMerges } from './tied-merges.ts';
import { decodeBytesExactly, spelledOut, takeBestPieces } from './tokenizer-steps.ts';

/** A prompt in parts. `control` is text of a template, in which control tokens count; `user` is text of anyone else. */
export type PromptPart =
  | { readonly kind: 'control'; readonly text: string }
  | { readonly kind: 'user'; readonly text: string }
  | { readonly kind: 'image' };

/** What the library gives. */
interface Encoded {
  readonly ids: number[];
  readonly tokens: readonly string[];
}

/** Parts between images. */
export type TextPart = Exclude<PromptPart, { kind: 'image' }>;

/** Characters of one request. */
const textLimit = 1_000_000;
export interface EncodeOptions {
  /** Put the tokens in front and behind that the tokenizer adds by itself; by default yes. */
  readonly automatic?: boolean | undefined;
}

/** Runs here, in this process: for files that are one's own. Those of strangers are opened by `openTokenizer`. */
export class Tokenizer {
  readonly #own: HubTokenizer;
  readonly #guarded: Guarded;
  readonly #controls: ReadonlyMap<string, number>;
  readonly #controlIds: ReadonlySet<number>;
  /** Not shown. */
  readonly #special: ReadonlySet<number>;
  readonly #spelled: ReadonlyMap<string, number>;
  readonly #before: readonly number[];
  readonly #after: readonly number[];
  /** Ids that exist; the embedding table of the model may be larger. */
  readonly size: number;

  /**
   * `where` names the file in errors; what `template`, the chat template, spells is no word of users. Throws `OpabiniaError` for a file
   * that is not a tokenizer, or contradicts itself.
   */
  constructor(json: unknown, config: unknown, where: string, template = '') {
    const checked = checkTokenizerJson(json, where);
    const settings = typeof config === 'object' && config !== null ? config : {};
    this.#own = build(spaced(checked.json, checked.added), settings, where);
    this.#controls = new Map(
      checked.added.filter((token) => !isBlank(token)).map((token) => [token.content, token.id]),
    );
    this.#controlIds = new Set(this.#controls.values());
    this.#special = new Set(checked.added.filter((token) => token.special).map((token) => token.id));
    this.#spelled = checked.spelled;
    this.size = checked.size;
    const [bare, full] = [true, false].map((without) => this.#own.encode('a', { add_special_tokens: !without }).ids);
    const at = startOf(full ?? [], bare ?? []);
    this.#before = (full ?? []).slice(0, at);
    this.#after = (full ?? []).slice(at + (bare ?? []).length);
    this.#guarded = new Guarded(
      checked.json,
      settings,
      checked.added.filter((token) => !isBlank(token)),
      [template, ...textsIn(settings)],
      where,
    );
  }

  /** Ids that the tokenizer puts in front of every text by itself: the begin-of-text token, or nothing. */
  get automaticStart(): readonly number[] {
    return this.#before;
  }

  /** The id of a control token, or of a token of the vocabulary by its stored spelling. */
  idOf(token: string): number | undefined {
    return this.#controls.get(token) ?? this.#own.token_to_id(token);
  }

  get controls(): ReadonlySet<number> {
    return this.#controlIds;
  }

  /** Control tokens, and tokens of the vocabulary that are spelled like one, with their ids. */
  names(): ReadonlyMap<string, number> {
    return new Map([...this.#spelled, ...this.#controls]);
  }

  isControl(id: number): boolean {
    return this.#controlIds.has(id);
  }

  /**
   * Ids of neighbouring parts, tokenised as one text, so that words across the border of template and user come out as in training;
   * but control tokens are found in the template's parts alone. Throws `OpabiniaError` for more than a million characters.
   */
  encode(parts: readonly TextPart[], options: EncodeOptions = {}): readonly number[] {
    const length = parts.reduce((sum, part) => sum + part.text.length, 0);
    if (length > textLimit)
      throw new OpabiniaError(`the text has ${length} characters; at most ${textLimit} are accepted`, {
        op: 'tokenizer',
        advice: 'shorten it',
      });
    const ids = this.#guarded.encode(parts);
    return options.automatic === false ? ids : [...this.#before, ...ids, ...this.#after];
  }

  /** Texts of several lists of ids. */
  decodeAll(lists: readonly (readonly number[])[]): readonly string[] {
    return lists.map((ids) => this.decode(ids));
  }

  /** The text of ids; special tokens are left out, other added ones are words like any other. */
  decode(ids: readonly number[]): string {
    const kept = ids.filter((id) => !this.#special.has(id) && this.#own.id_to_token(id) !== undefined);
    // Cleaned-up spaces would change text that was shown already.
    return kept.length === 0 ? '' : this.#own.decode([...kept], { clean_up_tokenization_spaces: false });
  }
}

/** All that a config says besides how its tokens are listed. */
function textsIn(config: object): readonly string[] {
  const texts = (value: unknown): readonly string[] =>
    typeof value === 'string'
      ? [value]
      : typeof value === 'object' && value !== null
        ? Object.values(value).flatMap(texts)
        : [];
  return Object.entries(config).flatMap(([key, value]) => (key === 'added_tokens_decoder' ? [] : texts(value)));
}

function startOf(full: readonly number[], bare: readonly number[]): number {
  for (let at = 0; at + bare.length <= full.length; at++) if (bare.every((id, i) => full[at + i] === id)) return at;
  return 0;
}

function build(json: object, config: object, where: string): HubTokenizer {
  try {
    const tokenizer = new HubTokenizer(spelledOut(json), config);
    tieMerges(tokenizer, json);
    useTables(tokenizer.normalizer);
    decodeBytesExactly(tokenizer.decoder);
    takeBestPieces(tokenizer.model);
    return tokenizer;
  } catch (cause) {
    throw new OpabiniaError(
      `${where} is not a tokenizer that is known: ${cause instanceof Error ? cause.message : String(cause)}`,
      { op: 'tokenizer', cause, advice: 'BPE, Unigram and WordPiece tokenizers can be read' },
    );
  }
}

/**
 * The tokenizer with its control tokens under names that nobody can know. In a template's text, the known spellings are put under
 * these names; a spelling in a user's text stays what it is, characters.
 */
class Guarded {
  readonly #make: (names: ReadonlyMap<string, string>) => HubTokenizer;
  readonly #tokens: ReadonlyMap<string, AddedToken>;
  /** Of Unigram with byte fallback, which the library has for BPE alone. */
  readonly #bytes: ByteIds | undefined;
  readonly #spellings: Readonly<Record<TextPart['kind'], RegExp | undefined>>;
  #names: ReadonlyMap<string, string>;
  #tokenizer: HubTokenizer;

  constructor(json: object, config: object, added: readonly AddedToken[], texts: readonly string[], where: string) {
    this.#make = (names) => build(renamed(json, names), config, where);
    this.#tokens = new Map(added.map((token) => [token.content, token]));
    this.#bytes = unigramBytes(json);
    this.#spellings = { control: spellingsOf(added), user: spellingsOf(added.filter((token) => isWord(token, texts))) };
    this.#names = this.#newNames();
    this.#tokenizer = this.#make(this.#names);
  }

  #newNames(): ReadonlyMap<string, string> {
    // Private-use characters around it: no pre-tokenizer has a rule for them, and normalisation keeps them.
    const key = randomBytes(16).toString('hex');
    return new Map([...this.#tokens.keys()].map((content, i) => [content, `\u{e000}${key}x${i}\u{e001}`]));
  }

  /** The text of parts with names in the place of tokens. */
  #named(parts: readonly TextPart[]): string {
    let text = '';
    // Behind a token that is found before texts are changed, one begins anew.
    let anew = 0;
    let takesBlanks = false;
    const add = (more: string): void => {
      const shown = takesBlanks ? more.replace(/^\p{White_Space}+/u, '') : more;
      text += shown;
      if (shown !== '') takesBlanks = false;
    };
    for (const { kind, text: own } of parts) {
      let at = 0;
      for (const { 0: content, index } of own.matchAll(this.#spellings[kind] ?? /$^/g)) {
        add(own.slice(at, index));
        at = index + content.length;
        const isBehindSpace = text.length === anew || /[ ▁]$/.test(text);
        const token = this.#tokens.get(content);
        const behindSpace = token?.behindSpace === true;
        if (token?.takesBefore === true) text = text.slice(0, anew) + withoutBlanks(text.slice(anew));
        text += behindSpace && !isBehindSpace ? content : (this.#names.get(content) ?? content);
        if (!behindSpace) anew = text.length;
        takesBlanks = token?.takesBehind === true;
      }
      add(own.slice(at));
    }
    return text;
  }

  encode(parts: readonly TextPart[]): number[] {
    const first = this.#names.values().next().value;
    const key = first?.slice(0, 33);
    if (key !== undefined && parts.some((part) => part.text.includes(key))) {
      this.#names = this.#newNames();
      this.#tokenizer = this.#make(this.#names);
      return this.encode(parts);
    }
    const text = this.#named(parts);
    if (text === '') return [];
    const { ids, tokens }: Encoded = this.#tokenizer.encode(text, { add_special_tokens: false });
    const bytes = this.#bytes;
    if (bytes === undefined) return ids;
    const unknown = bytes.unknown;
    return ids.flatMap((id, i) => {
      const token = tokens[i] ?? '';
      return id !== unknown || token.startsWith('\u{e000}')
        ? id
        : [...Buffer.from(token)].map((byte) => bytes.ids[byte] ?? id);
    });
  }
}

/** Unicode's blanks at the end of a text; `trimEnd` takes JavaScript's. One by one: a regular expression would begin anew at each. */
function withoutBlanks(text: string): string {
  let end = text.length;
  while (end > 0 && /\p{White_Space}/u.test(text.charAt(end - 1))) end--;
  return text.slice(0, end);
}

/** Unicode's `\w`. */
const wordCharacter = String.raw`[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]`;

/** The longest first: `<|end|>` must not be found inside of `<|end|><|x|>`. */
function spellingsOf(tokens: readonly AddedToken[]): RegExp | undefined {
  if (tokens.length === 0) return undefined;
  const sorted = [...tokens].sort((a, b) => b.content.length - a.content.length);
  const patterns = sorted.map(({ content, apart }) => {
    const text = RegExp.escape(content);
    return apart ? `(?<!${wordCharacter})${text}(?!${wordCharacter})` : text;
  });
  return new RegExp(patterns.join('|'), 'gu');
}

// ---- text as it comes ------------------------------------------------------------------------------------------------

/** Ids held back for the rest of a character; more than this many are not a character any more. */
const heldLimit = 8;
/** Ids without text that are kept for the next one. */
const contextLimit = 32;
const ideograph = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Hangul}]$/u;

/** Ids to texts, one for each list. */
export interface Decoder {
  readonly decodeAll: (lists: readonly (readonly number[])[]) => Promise<readonly string[]> | readonly string[];
}

/** Ids one by one to text in whole words. */
export class TextStream {
  readonly #decoder: Decoder;
  /** Ids whose text is known, kept because the text of an id may depend on the one before it. */
  #context: number[] = [];
  #held: number[] = [];
  #word = '';

  constructor(decoder: Decoder) {
    this.#decoder = decoder;
  }

  /** Text that is complete with this id: up to the last space, or all of it after a newline or an ideograph; may be empty. */
  async push(id: number): Promise<string> {
    this.#held.push(id);
    const { known, now } = await this.#texts();
    // A replacement character at the end may be the first bytes of a character.
    if (now.endsWith('\u{fffd}') && this.#held.length < heldLimit) return '';
    this.#word += now.slice(known.length);
    // Behind ids without text, as special ones are, the next one's space would be taken for the first of a text.
    this.#context = now === known ? [...this.#context, ...this.#held].slice(-contextLimit) : this.#held;
    this.#held = [];
    const end = ideograph.test(this.#word)
      ? this.#word.length
      : Math.max(this.#word.lastIndexOf(' '), this.#word.lastIndexOf('\n')) + 1;
    const complete = this.#word.slice(0, end);
    this.#word = this.#word.slice(end);
    return complete;
  }

  /** What is known of a word that is not complete. */
  get word(): string {
    return this.#word;
  }

  /** What is left at the end. */
  async end(): Promise<string> {
    const { known, now } = await this.#texts();
    const rest = this.#word + now.slice(known.length);
    this.#context = [];
    this.#held = [];
    this.#word = '';
    return rest;
  }

  async #texts(): Promise<{ readonly known: string; readonly now: string }> {
    const [known = '', now = ''] = await this.#decoder.decodeAll([this.#context, [...this.#context, ...this.#held]]);
    return { known, now };
  }
}
