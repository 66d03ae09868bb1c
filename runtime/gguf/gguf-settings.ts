// Settings of a GGUF file by key and type. Integers come in any width and sign.
import type { GgufFile } from './gguf-file.ts';
import { GgufError } from './gguf-file.ts';

export class GgufSettings {
  readonly #file: GgufFile;

  constructor(file: GgufFile) {
    this.#file = file;
  }

  has(key: string): boolean {
    return this.#file.settings.has(key);
  }

  /** Throws `GgufError` where it is missing or no number. */
  number(key: string, otherwise?: number): number {
    const value = this.#file.settings.get(key) ?? otherwise;
    const number = typeof value === 'bigint' ? Number(value) : value;
    if (typeof number === 'number' && Number.isFinite(number)) return number;
    throw this.wrong(key, 'a number');
  }

  /** A number, or one a layer that are all equal. Throws `GgufError`. */
  sameNumber(key: string, otherwise?: number): number {
    const value = this.#file.settings.get(key);
    if (!Array.isArray(value)) return this.number(key, otherwise);
    const [first, ...rest] = value.map(Number);
    if (first !== undefined && rest.every((one) => one === first)) return first;
    throw new GgufError(
      this.#file.path,
      `has '${key}' that differs from layer to layer`,
      'models whose layers are alike are read',
    );
  }

  text(key: string, otherwise?: string): string {
    const value = this.#file.settings.get(key) ?? otherwise;
    if (typeof value === 'string') return value;
    throw this.wrong(key, 'a text');
  }

  flag(key: string, otherwise: boolean): boolean {
    const value = this.#file.settings.get(key) ?? otherwise;
    if (typeof value === 'boolean') return value;
    throw this.wrong(key, 'true or false');
  }

  /** Undefined for what is not a list of them. */
  flags(key: string): readonly boolean[] | undefined {
    const value = this.#file.settings.get(key);
    return Array.isArray(value) && value.every((one) => typeof one === 'boolean') ? value.map(Boolean) : undefined;
  }

  numbers(key: string): readonly number[] {
    const value = this.#file.settings.get(key);
    if (Array.isArray(value) && value.every((one) => typeof one === 'number' || typeof one === 'bigint'))
      return value.map(Number);
    throw this.wrong(key, 'a list of numbers');
  }

  texts(key: string): readonly string[] {
    const value = this.#file.settings.get(key);
    if (Array.isArray(value) && value.every((one) => typeof one === 'string')) return value.map(String);
    throw this.wrong(key, 'a list of texts');
  }

  wrong(key: string, wanted: string): GgufError {
    return new GgufError(this.#file.path, `${this.has(key) ? 'has' : 'lacks'} '${key}', which should be ${wanted}`);
  }
}
