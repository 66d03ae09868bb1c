// A pickle read as data. A pickle is a program that may name any function of Python; this reader knows the few names that tensors and
// dictionaries need, gives them a meaning of its own, and refuses every other by its name. Nothing is ever called.
// Opcodes: Lib/pickletools.py of CPython, protocols 2 to 5.

export class PickleError extends Error {}

/** The pickle refers to what is neither a tensor nor a dictionary: nothing is wrong with it, but it is not data alone. */
export class ForeignNameError extends PickleError {}

/** A name that the pickle refers to, such as `torch FloatStorage`. */
export class Global {
  readonly name: string;
  constructor(name: string) {
    this.name = name;
  }
}

/** A call of a known function, left as it stands. */
export interface Call {
  readonly of: string;
  readonly with: readonly Value[];
}

/** What PyTorch stores outside of the pickle: `('storage', type, key, location, elements)`. */
export interface Persistent {
  readonly persistent: Value;
}

export type Value =
  | null
  | boolean
  | number
  | string
  | Uint8Array
  | Global
  | Call
  | Persistent
  | readonly Value[]
  | Map<Value, Value>;

const mostSteps = 20_000_000;
const mostMemo = 5_000_000;

class Mark {}

/**
 * The value of a pickle. `allowed` are the names that it may refer to; `collections OrderedDict` is a Map, and calls of the others stay
 * calls. Throws `PickleError`.
 */
export function readPickle(bytes: Uint8Array, allowed: ReadonlySet<string>): Value {
  return new Reader(bytes, allowed).run();
}

/** The bytes end inside of a pickle. */
export class EndedEarly extends PickleError {
  constructor() {
    super('ends too early');
  }
}

export interface Pickles {
  readonly values: readonly Value[];
  /** The byte behind the last of them. */
  readonly end: number;
  /** All that they keep outside of themselves. */
  readonly persistent: readonly Value[];
}

/** Several pickles, one behind the other from byte `at` on. */
export function readPickles(bytes: Uint8Array, allowed: ReadonlySet<string>, at: number, count: number): Pickles {
  const reader = new Reader(bytes, allowed, at);
  const values = Array.from({ length: count }, () => reader.run());
  return { values, end: reader.at, persistent: reader.persistent };
}

class Reader {
  readonly #view: DataView;
  readonly #bytes: Uint8Array;
  readonly #allowed: ReadonlySet<string>;
  readonly #stack: (Value | Mark)[] = [];
  readonly #memo = new Map<number, Value>();
  readonly persistent: Value[] = [];
  #at: number;

  constructor(bytes: Uint8Array, allowed: ReadonlySet<string>, at = 0) {
    this.#at = at;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#allowed = allowed;
  }

  get at(): number {
    return this.#at;
  }

  run(): Value {
    this.#memo.clear();
    for (let steps = 0; steps < mostSteps; steps++) {
      const code = this.#take(1)[0] ?? 0;
      if (code === 0x2e) {
        const value = this.#pop();
        if (this.#stack.length > 0) throw new PickleError('leaves values behind');
        return value;
      }
      this.#step(code);
    }
    throw new PickleError(`takes more than ${mostSteps} steps`);
  }

  #step(code: number): void {
    switch (String.fromCharCode(code)) {
      case '\x80': // PROTO
        if ((this.#take(1)[0] ?? 99) > 5) throw new PickleError('has a protocol above 5');
        return;
      case '\x95': // FRAME
        this.#long();
        return;
      case '(':
        return void this.#stack.push(new Mark());
      case ')':
        return this.#push([]);
      case ']':
        return this.#push([]);
      case '}':
        return this.#push(new Map());
      case 'N':
        return this.#push(null);
      case '\x88':
        return this.#push(true);
      case '\x89':
        return this.#push(false);
      case 'J':
        return this.#push(this.#view.getInt32(this.#skip(4), true));
      case 'K':
        return this.#push(this.#view.getUint8(this.#skip(1)));
      case 'M':
        return this.#push(this.#view.getUint16(this.#skip(2), true));
      case 'G':
        return this.#push(this.#view.getFloat64(this.#skip(8), false));
      case '\x8a':
        return this.#push(this.#bigInteger(this.#take(1)[0] ?? 0));
      case 'X':
        return this.#push(this.#text(this.#view.getUint32(this.#skip(4), true)));
      case '\x8c':
        return this.#push(this.#text(this.#take(1)[0] ?? 0));
      case '\x8d':
        return this.#push(this.#text(this.#long()));
      case 'U':
        return this.#push(this.#text(this.#take(1)[0] ?? 0));
      case 'B':
        return this.#push(this.#take(this.#view.getUint32(this.#skip(4), true)));
      case 'C':
        return this.#push(this.#take(this.#take(1)[0] ?? 0));
      case 'c':
        return this.#push(this.#global(this.#line(), this.#line()));
      case '\x93': {
        const [name, module] = [this.#pop(), this.#pop()];
        if (typeof name !== 'string' || typeof module !== 'string') throw new PickleError('names what is not a name');
        return this.#push(this.#global(module, name));
      }
      case 'q':
        return this.#put(this.#take(1)[0] ?? 0);
      case 'r':
        return this.#put(this.#view.getUint32(this.#skip(4), true));
      case '\x94':
        return this.#put(this.#memo.size);
      case 'h':
        return this.#push(this.#get(this.#take(1)[0] ?? 0));
      case 'j':
        return this.#push(this.#get(this.#view.getUint32(this.#skip(4), true)));
      case 't':
        return this.#push(this.#toMark());
      case '\x85':
        return this.#push(this.#last(1));
      case '\x86':
        return this.#push(this.#last(2));
      case '\x87':
        return this.#push(this.#last(3));
      case 'Q': {
        const persistent = this.#pop();
        this.persistent.push(persistent);
        return this.#push({ persistent });
      }
      case 'R':
        return this.#call();
      case 'b':
        return this.#build();
      case 'a': {
        const value = this.#pop();
        return this.#append([value]);
      }
      case 'e':
        return this.#append(this.#toMark());
      case 's': {
        const [value, key] = [this.#pop(), this.#pop()];
        return this.#set([key, value]);
      }
      case 'u':
        return this.#set(this.#toMark());
      case '0':
        return void this.#pop();
      default:
        throw new PickleError(`has the instruction 0x${code.toString(16)}, which weights have no use for`);
    }
  }

  #global(module: string, name: string): Global {
    const full = `${module} ${name}`;
    if (this.#allowed.has(full)) return new Global(full);
    throw new ForeignNameError(
      `refers to ${module.slice(0, 80)}.${name.slice(0, 80)}, which is neither a tensor nor a dictionary`,
    );
  }

  /** Calls stay what they are; an OrderedDict without arguments is a dictionary. */
  #call(): void {
    const [given, called] = [this.#pop(), this.#pop()];
    if (!(called instanceof Global) || !Array.isArray(given)) throw new PickleError('calls what is not a function');
    if (called.name === 'collections OrderedDict') {
      const [pairs] = given as readonly Value[];
      const map = new Map<Value, Value>();
      for (const pair of Array.isArray(pairs) ? (pairs as readonly Value[]) : []) {
        if (!Array.isArray(pair)) throw new PickleError('has a dictionary of what are not pairs');
        const [key = null, value = null] = pair as readonly Value[];
        map.set(key, value);
      }
      return this.#push(map);
    }
    this.#push({ of: called.name, with: given as readonly Value[] });
  }

  /** The state of an object: a dictionary's attributes, which say nothing about its contents. */
  #build(): void {
    this.#pop();
    if (!(this.#stack.at(-1) instanceof Map)) throw new PickleError('gives a state to what has none');
  }

  #append(values: readonly Value[]): void {
    const list = this.#stack.at(-1);
    if (!Array.isArray(list)) throw new PickleError('appends to what is not a list');
    for (const value of values) (list as Value[]).push(value);
  }

  #set(values: readonly Value[]): void {
    const map = this.#stack.at(-1);
    if (!(map instanceof Map) || values.length % 2 !== 0)
      throw new PickleError('sets items of what is not a dictionary');
    for (let i = 0; i < values.length; i += 2) map.set(values[i] ?? null, values[i + 1] ?? null);
  }

  #push(value: Value): void {
    this.#stack.push(value);
  }

  #pop(): Value {
    const value = this.#stack.pop();
    if (value === undefined || value instanceof Mark) throw new PickleError('takes more values than there are');
    return value;
  }

  #last(count: number): Value[] {
    return Array.from({ length: count }, () => this.#pop()).reverse();
  }

  #toMark(): Value[] {
    const at = this.#stack.findLastIndex((value) => value instanceof Mark);
    if (at === -1) throw new PickleError('ends a list that was not begun');
    const values = this.#stack.splice(at).slice(1);
    return values.filter((value): value is Value => !(value instanceof Mark));
  }

  #put(place: number): void {
    const value = this.#stack.at(-1);
    if (value === undefined || value instanceof Mark) throw new PickleError('remembers a value that is not there');
    if (this.#memo.size >= mostMemo) throw new PickleError('remembers too many values');
    this.#memo.set(place, value);
  }

  #get(place: number): Value {
    const value = this.#memo.get(place);
    if (value === undefined) throw new PickleError('recalls a value that was not remembered');
    return value;
  }

  #skip(count: number): number {
    const at = this.#at;
    if (!Number.isSafeInteger(count) || at + count > this.#bytes.length) throw new EndedEarly();
    this.#at += count;
    return at;
  }

  #take(count: number): Uint8Array {
    const at = this.#skip(count);
    return this.#bytes.subarray(at, at + count);
  }

  #long(): number {
    const value = this.#view.getBigUint64(this.#skip(8), true);
    if (value > BigInt(this.#bytes.length)) throw new EndedEarly();
    return Number(value);
  }

  /** Little-endian, two's complement. */
  #bigInteger(count: number): number {
    const bytes = this.#take(count);
    let value = 0n;
    for (let i = count - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i] ?? 0);
    if (count > 0 && ((bytes[count - 1] ?? 0) & 0x80) !== 0) value -= 1n << BigInt(8 * count);
    const number = Number(value);
    if (!Number.isSafeInteger(number)) throw new PickleError('has a number beyond 2^53');
    return number;
  }

  #text(count: number): string {
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(this.#take(count));
    } catch (cause) {
      throw cause instanceof PickleError ? cause : new PickleError('has a text that is not UTF-8');
    }
  }

  #line(): string {
    const end = this.#bytes.indexOf(10, this.#at);
    if (end === -1) throw new EndedEarly();
    const text = Buffer.from(this.#take(end - this.#at)).toString('latin1');
    this.#skip(1);
    return text;
  }
}
