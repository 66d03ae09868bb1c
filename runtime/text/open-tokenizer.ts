// A stranger's tokenizer: it runs in the sandbox, since its regular expressions may never end; here is what is asked of it.
import { statSync } from 'node:fs';
import { OpabiniaError } from '../../dsl/error.ts';
import { needFile, type ModelFiles } from '../checkpoint/hub.ts';
import { sandbox as shared, type AskOptions, type Sandbox } from '../sandbox/sandbox.ts';
import type { TokenizerFacts } from '../sandbox/protocol.ts';
import type { EncodeOptions, TextPart } from './tokenizer.ts';
import { requireFields } from '../../dsl/graph/required.ts';

/** Milliseconds of opening, and of one text or answer. A file, or a text, of many megabytes is given more. */
const limits = { open: 5_000, openByte: 1 / 4_000, text: 5_000, character: 1 / 100 } as const;

/** Added tokens without an embedding. */
const spareTokens = 8;

let keys = 0;

interface Place {
  readonly path: string;
  readonly configPath: string | undefined;
}

/** What `openTokenizer` gives: a tokenizer in a process of its own, which is killed when a text takes too long. */
export class SandboxTokenizer {
  readonly #sandbox: Sandbox;
  readonly #place: Place;
  readonly #key: number;
  readonly #facts: TokenizerFacts;
  readonly #controls: ReadonlySet<number>;
  #vocabulary = Infinity;
  /** Of the process that has it open. */
  #generation: number;

  private constructor(sandbox: Sandbox, place: Place, facts: TokenizerFacts, generation: number, key: number) {
    this.#sandbox = sandbox;
    this.#place = place;
    this.#facts = facts;
    this.#controls = new Set(facts.controls);
    this.#generation = generation;
    this.#key = key;
  }

  static async open(place: Place, sandbox: Sandbox = shared): Promise<SandboxTokenizer> {
    const key = keys++;
    const facts = await openIn(sandbox, key, place);
    return new SandboxTokenizer(sandbox, place, facts, sandbox.generation, key);
  }

  /** Ids that exist; the embedding table of the model may be larger. */
  get size(): number {
    return this.#facts.size;
  }

  /** Ids that the tokenizer puts in front of every text by itself: the begin-of-text token, or nothing. */
  get automaticStart(): readonly number[] {
    return this.#facts.automaticStart;
  }

  /**
   * Ids from `vocabulary` on have no embedding: a text that has one is refused from now on. False where the tokenizer has more of them
   * than a few added tokens, such as one for padding: then it belongs to another model.
   */
  fits(vocabulary: number): boolean {
    this.#vocabulary = vocabulary;
    const over = this.#facts.controls.filter((id) => id >= vocabulary).length;
    return this.size <= vocabulary || (over <= spareTokens && this.size - vocabulary === over);
  }

  /** The id of a control token, or of a token of the vocabulary that is spelled like one. */
  idOf(token: string): number | undefined {
    return this.#facts.names.get(token);
  }

  isControl(id: number): boolean {
    return this.#controls.has(id);
  }

  /** As `Tokenizer.encode`. Throws `OpabiniaError`, also for a tokenizer that takes too long or too much memory. */
  async encode(parts: readonly TextPart[], { automatic = true }: EncodeOptions = {}): Promise<readonly number[]> {
    const characters = parts.reduce((sum, part) => sum + part.text.length, 0);
    const options = this.#options(limits.text + characters * limits.character);
    await this.#reopen();
    const ids = await this.#sandbox.ask<'encode'>({ kind: 'encode', key: this.#key, parts, automatic }, options);
    const over = ids.find((id) => id >= this.#vocabulary);
    if (over !== undefined)
      throw new OpabiniaError(`the text has the token ${over}, and the model a vocabulary of ${this.#vocabulary}`, {
        op: 'tokenizer',
        advice: 'leave that token out: the model has no embedding for it',
      });
    return ids;
  }

  /** The text of ids; special tokens are left out. */
  async decode(ids: readonly number[]): Promise<string> {
    const [text = ''] = await this.decodeAll([ids]);
    return text;
  }

  decodeAll = async (lists: readonly (readonly number[])[]): Promise<readonly string[]> => {
    await this.#reopen();
    return this.#sandbox.ask<'decode'>({ kind: 'decode', key: this.#key, lists }, this.#options(limits.text));
  };

  /** Forgets it in the sandbox. */
  close(): void {
    if (this.#generation === this.#sandbox.generation)
      this.#sandbox.ask<'close'>({ kind: 'close', key: this.#key }, this.#options(limits.text)).catch(() => undefined);
  }

  /** A process that was killed knows nothing of it. */
  async #reopen(): Promise<void> {
    this.#sandbox.warm();
    if (this.#generation === this.#sandbox.generation) return;
    await openIn(this.#sandbox, this.#key, this.#place);
    this.#generation = this.#sandbox.generation;
  }

  #options(time: number): AskOptions {
    return optionsOf(this.#place.path, time);
  }
}

function optionsOf(path: string, time: number): AskOptions {
  return { time, who: path, op: 'tokenizer', advice: 'the file is damaged or made to mislead; get it again' };
}

function openIn(sandbox: Sandbox, key: number, place: Place): Promise<TokenizerFacts> {
  const bytes = statSync(place.path, { throwIfNoEntry: false })?.size ?? 0;
  const options = optionsOf(place.path, limits.open + bytes * limits.openByte);
  return sandbox.ask<'open'>({ kind: 'open', key, ...place }, options);
}

/**
 * The tokenizer of a model, from its files; it runs where a hostile one can be ended. Throws `OpabiniaError`.
 * @example const tokenizer = await openTokenizer(modelFiles(resolveModel('owner/name')))
 */
export async function openTokenizer(files: ModelFiles): Promise<SandboxTokenizer> {
  requireFields(
    'openTokenizer',
    files,
    { directory: 'string' },
    "openTokenizer(modelFiles('path/to/model'))",
    'what a model holds',
  );
  const path = needFile(files.tokenizer, 'tokenizer.json', files);
  return SandboxTokenizer.open({ path, configPath: files.tokenizerConfig });
}
