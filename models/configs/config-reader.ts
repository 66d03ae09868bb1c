// The one reader of configs: a JSON object, by key and type, each field with the default of the class that wrote the file.
import { nearestNames, OpabiniaError } from '../../dsl/index.ts';

/** The largest that make sense, by name: a config is a claim, and what it claims is looped over before weights are looked at. */
const largest: Readonly<Record<string, number>> = {
  ...Object.fromEntries(['hidden_size', 'hidden_sizes', 'embed_dim', 'width', 'dims'].map((key) => [key, 65_536])),
  ...Object.fromEntries(['num_hidden_layers', 'depth', 'depths', 'layers'].map((key) => [key, 1_000])),
  ...Object.fromEntries(['image_size', 'img_size'].map((key) => [key, 8_192])),
  ...Object.fromEntries(['num_attention_heads', 'num_heads', 'num_register_tokens'].map((key) => [key, 1_024])),
  patch_size: 512,
};
const otherwiseLargest = 16_777_216;

/** Fields of a config. A field that is absent or null takes the default of the read; one of another type is an error that names it. */
export class ConfigReader {
  readonly #fields: ReadonlyMap<string, unknown>;
  readonly #name: string;

  /** `name` says in errors which config it is. Throws `OpabiniaError` when `json` is not an object. */
  constructor(json: unknown, name: string) {
    if (typeof json !== 'object' || json === null || Array.isArray(json))
      throw new OpabiniaError(`the config of ${name} is not a JSON object`, {
        op: 'config',
        advice: 'give what config.json has, parsed',
      });
    this.#fields = new Map(Object.entries(json));
    this.#name = name;
  }

  has(key: string): boolean {
    return (this.#fields.get(key) ?? null) !== null;
  }

  /** Throws `OpabiniaError` for a field that is none of these: what would be ignored changes what a model computes. */
  only(known: readonly string[]): void {
    const stray = [...this.#fields].find(([key, value]) => value !== null && !known.includes(key));
    if (stray !== undefined)
      throw this.wrong(stray[0], 'is not known', `known are ${known.join(', ')}; it would change what is computed`);
  }

  /** Throws `OpabiniaError` for a field that is there with another value than these: parts of a model that are not known. */
  fixed(values: Readonly<Record<string, string | number | boolean>>): void {
    for (const [key, value] of Object.entries(values))
      if (this.has(key) && this.raw(key) !== value)
        throw this.wrong(key, `is ${JSON.stringify(this.raw(key))}`, `known is ${JSON.stringify(value)} alone`);
  }

  number(key: string, otherwise?: number): number {
    const value = this.#field(key) ?? otherwise;
    if (typeof value === 'number' && Number.isFinite(value)) return value;
    throw this.wrong(key, 'is not a number');
  }

  /** True where no field has a value. */
  get empty(): boolean {
    return [...this.#fields.values()].every((value) => value === null);
  }

  positive(key: string, otherwise?: number): number {
    const value = this.number(key, otherwise);
    if (value > 0) return value;
    throw this.wrong(key, `is ${value}, not above 0`);
  }

  /** A whole number of at least one: a size or a count. */
  count(key: string, otherwise?: number): number {
    return this.#checked(key, this.number(key, otherwise));
  }

  /** Sizes or counts, one after the other. */
  counts(key: string): readonly number[] {
    return this.numbers(key).map((value) => this.#checked(key, value));
  }

  #checked(key: string, value: number): number {
    if (!Number.isInteger(value) || value < 1) throw this.wrong(key, `is ${value}, not a whole number above 0`);
    const most = largest[key] ?? otherwiseLargest;
    if (value <= most) return value;
    throw this.wrong(key, `is ${value}`, `at most ${most} makes sense`);
  }

  flag(key: string, otherwise: boolean): boolean {
    const value = this.#field(key) ?? otherwise;
    if (typeof value === 'boolean') return value;
    throw this.wrong(key, 'is neither true nor false');
  }

  text(key: string, otherwise?: string): string {
    const value = this.#field(key) ?? otherwise;
    if (typeof value === 'string') return value;
    throw this.wrong(key, 'is not a text');
  }

  numbers(key: string): readonly number[] {
    const value = this.#field(key);
    if (
      Array.isArray(value) &&
      value.every((item): item is number => typeof item === 'number' && Number.isFinite(item))
    )
      return value;
    throw this.wrong(key, 'is not a list of numbers');
  }

  /** Rows and columns: two whole numbers above 0, or one that is both. */
  sides(key: string, otherwise?: number): readonly [height: number, width: number] {
    if (!Array.isArray(this.raw(key))) {
      const side = this.count(key, otherwise);
      return [side, side];
    }
    const [height, width, ...rest] = this.counts(key);
    if (rest.length === 0 && height !== undefined && width !== undefined) return [height, width];
    throw this.wrong(key, 'is not a side, or a height and a width');
  }

  texts(key: string): readonly string[] {
    const value = this.#field(key);
    if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value;
    throw this.wrong(key, 'is not a list of texts');
  }

  /** A list of objects, each read like this one. */
  list(key: string): readonly ConfigReader[] {
    const value = this.#field(key);
    if (Array.isArray(value))
      return value.map((item, i) => new ConfigReader(item, `${this.#name}, field '${key}[${i}]'`));
    throw this.wrong(key, 'is not a list of objects');
  }

  /** A field as it stands, for what has no read of its own; undefined when it is absent. */
  raw(key: string): unknown {
    return this.#field(key);
  }

  /** A config inside this one; undefined when it is absent. */
  inner(key: string): ConfigReader | undefined {
    const value = this.#field(key);
    return value === undefined ? undefined : new ConfigReader(value, `${this.#name}, field '${key}'`);
  }

  /** An error about one field. */
  wrong(key: string, what: string, advice?: string): OpabiniaError {
    if (this.has(key) || advice !== undefined)
      return new OpabiniaError(`'${key}' in the config of ${this.#name} ${what}`, { op: 'config', advice });
    const present = [...this.#fields.keys()].filter((name) => name !== key);
    return new OpabiniaError(`the config of ${this.#name} has no '${key}'`, {
      op: 'config',
      advice: present.length === 0 ? 'it is empty' : `the nearest fields are ${nearestNames(key, present).join(', ')}`,
    });
  }

  #field(key: string): unknown {
    return this.#fields.get(key) ?? undefined;
  }
}
