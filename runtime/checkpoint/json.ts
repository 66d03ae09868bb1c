// Strict JSON for hostile files: objects become Maps, a key that stands twice is refused, depth is bounded.
import { OpabiniaError } from '../../dsl/error.ts';

export type Json = null | boolean | number | string | readonly Json[] | ReadonlyMap<string, Json>;

export interface JsonLimits {
  /** Levels of nesting; a plain number has depth 0, `{"a":[1]}` depth 2. */
  readonly depth: number;
  /** What is being read, for messages: `header of model.safetensors`. */
  readonly what: string;
}

const escapes = new Map([
  ['"', '"'],
  ['\\', '\\'],
  ['/', '/'],
  ['b', '\b'],
  ['f', '\f'],
  ['n', '\n'],
  ['r', '\r'],
  ['t', '\t'],
]);
const numberPattern = /-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?/y;
const plainPattern = /[^"\\\u0000-\u001f]+/y;

/**
 * Parses RFC 8259 JSON. `JSON.parse` keeps the last of two equal keys and gives names such as `__proto__` a meaning;
 * two readers that disagree on a file are how checks are bypassed. Spaces may follow the value, nothing else.
 * Throws `OpabiniaError` with the position.
 */
export function parseStrict(text: string, limits: JsonLimits): Json {
  return new Parser(text, limits).document();
}

class Parser {
  readonly #text: string;
  readonly #limits: JsonLimits;
  #at = 0;

  constructor(text: string, limits: JsonLimits) {
    this.#text = text;
    this.#limits = limits;
  }

  document(): Json {
    const value = this.#value(0);
    while (this.#text[this.#at] === ' ') this.#at++;
    if (this.#at < this.#text.length) throw this.#refuse('something follows the value; only spaces may');
    return value;
  }

  #refuse(what: string): OpabiniaError {
    return new OpabiniaError(`${this.#limits.what}: ${what} (at character ${this.#at})`, {
      op: 'json',
      advice: 'the file is damaged or made to mislead; get it again from its source',
    });
  }

  #skip(): void {
    for (;;) {
      const c = this.#text[this.#at];
      if (c !== ' ' && c !== '\n' && c !== '\r' && c !== '\t') return;
      this.#at++;
    }
  }

  #value(depth: number): Json {
    this.#skip();
    const c = this.#text[this.#at];
    if (c === '{' || c === '[') {
      if (depth >= this.#limits.depth) throw this.#refuse(`nested deeper than ${this.#limits.depth} levels`);
      this.#at++;
      return c === '{' ? this.#object(depth + 1) : this.#array(depth + 1);
    }
    if (c === '"') return this.#string();
    if (c === 't') return this.#word('true', true);
    if (c === 'f') return this.#word('false', false);
    if (c === 'n') return this.#word('null', null);
    return this.#number();
  }

  #word<T extends Json>(word: string, value: T): T {
    if (!this.#text.startsWith(word, this.#at)) throw this.#refuse('expected a value');
    this.#at += word.length;
    return value;
  }

  #number(): number {
    numberPattern.lastIndex = this.#at;
    const found = numberPattern.exec(this.#text)?.[0];
    if (found === undefined) throw this.#refuse('expected a value');
    this.#at += found.length;
    const value = Number(found);
    // 1e400, and 9007199254740993, would silently become another number.
    if (!Number.isFinite(value) || (Number.isInteger(value) && !Number.isSafeInteger(value)))
      throw this.#refuse(`the number ${found.slice(0, 40)} is too large`);
    return value;
  }

  #string(): string {
    this.#at++;
    let out = '';
    for (;;) {
      plainPattern.lastIndex = this.#at;
      const plain = plainPattern.exec(this.#text)?.[0] ?? '';
      out += plain;
      this.#at += plain.length;
      const c = this.#text[this.#at++];
      if (c === '"') break;
      if (c !== '\\')
        throw this.#refuse(c === undefined ? 'a string does not end' : 'a control character stands in a string');
      const escape = this.#text[this.#at++] ?? '';
      const known = escapes.get(escape);
      if (known !== undefined) out += known;
      else if (escape === 'u' && /^[0-9a-fA-F]{4}$/.test(this.#text.slice(this.#at, this.#at + 4))) {
        out += String.fromCharCode(Number.parseInt(this.#text.slice(this.#at, this.#at + 4), 16));
        this.#at += 4;
      } else throw this.#refuse('an unknown escape in a string');
    }
    if (!out.isWellFormed()) throw this.#refuse('half of a surrogate pair in a string');
    return out;
  }

  #array(depth: number): readonly Json[] {
    const items: Json[] = [];
    this.#skip();
    if (this.#text[this.#at] === ']') {
      this.#at++;
      return items;
    }
    for (;;) {
      items.push(this.#value(depth));
      if (this.#closed(']')) return items;
    }
  }

  #object(depth: number): ReadonlyMap<string, Json> {
    const members = new Map<string, Json>();
    this.#skip();
    if (this.#text[this.#at] === '}') {
      this.#at++;
      return members;
    }
    for (;;) {
      this.#skip();
      if (this.#text[this.#at] !== '"') throw this.#refuse('expected a key in quotes');
      const key = this.#string();
      if (members.has(key)) throw this.#refuse(`the key '${key.slice(0, 80)}' stands twice`);
      this.#skip();
      if (this.#text[this.#at++] !== ':') throw this.#refuse("expected ':' after a key");
      members.set(key, this.#value(depth));
      if (this.#closed('}')) return members;
    }
  }

  /** After a member: true at the closing bracket, false at a comma. */
  #closed(bracket: ']' | '}'): boolean {
    this.#skip();
    const c = this.#text[this.#at++];
    if (c === bracket) return true;
    if (c === ',') return false;
    throw this.#refuse(`expected ',' or '${bracket}'`);
  }
}
