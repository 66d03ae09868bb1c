// A golden file: weights under the checkpoint's names, `input.*`, `output.*`, and the config it was made with.
import { OpabiniaError } from '../../dsl/error.ts';
import type { Inspect } from '../../models/sequence/regions.ts';
import type { Tensor } from '../../dsl/index.ts';
import { openCheckpoint, type Checkpoint } from '../../runtime/checkpoint/checkpoint.ts';

export type ComputeDType = 'f32' | 'f16';

/** The config with checked reads: a value of another type than expected is an error that names the key. */
export class GoldenConfig {
  readonly #values: ReadonlyMap<string, unknown>;
  readonly #file: string;

  constructor(values: Readonly<Record<string, unknown>>, file: string) {
    this.#values = new Map(Object.entries(values));
    this.#file = file;
  }

  has(key: string): boolean {
    return this.#values.has(key);
  }

  number(key: string, otherwise?: number): number {
    const value = this.#values.get(key) ?? otherwise;
    if (typeof value === 'number') return value;
    throw this.#wrong(key, 'a number');
  }

  numbers(key: string): readonly number[] {
    const value = this.#values.get(key);
    if (Array.isArray(value) && value.every((item) => typeof item === 'number')) return value;
    throw this.#wrong(key, 'a list of numbers');
  }

  text(key: string, otherwise?: string): string {
    const value = this.#values.get(key) ?? otherwise;
    if (typeof value === 'string') return value;
    throw this.#wrong(key, 'a text');
  }

  flag(key: string, otherwise: boolean): boolean {
    const value = this.#values.get(key) ?? otherwise;
    if (typeof value === 'boolean') return value;
    throw this.#wrong(key, 'true or false');
  }

  /** A list of objects, as `cases` is in files of many small cases. */
  list(key: string): readonly GoldenConfig[] {
    const value = this.#values.get(key);
    if (Array.isArray(value) && value.every((item) => typeof item === 'object' && item !== null)) {
      return value.map((item: object) => new GoldenConfig({ ...item }, this.#file));
    }
    throw this.#wrong(key, 'a list of objects');
  }

  #wrong(key: string, wanted: string): OpabiniaError {
    return new OpabiniaError(`the config of ${this.#file} has no '${key}' that is ${wanted}`, {
      op: 'verify',
      advice: `it has ${[...this.#values.keys()].join(', ')}`,
    });
  }
}

export class GoldenFile {
  readonly path: string;
  readonly kind: string;
  readonly config: GoldenConfig;
  readonly checkpoint: Checkpoint;
  readonly dtype: ComputeDType;

  /** Opens and checks a file; its checkpoint must be closed. Throws `OpabiniaError`. */
  constructor(path: string, dtype: ComputeDType = 'f32') {
    this.path = path;
    this.dtype = dtype;
    this.checkpoint = openCheckpoint(path, { dtype });
    try {
      const values = readConfig(path, this.checkpoint);
      this.config = new GoldenConfig(values, path);
      this.kind = this.checkpoint.metadata.get('kind') ?? this.config.text('kind');
    } catch (error) {
      this.checkpoint.close();
      throw error;
    }
  }

  has(name: string): boolean {
    return this.checkpoint.stored.has(name);
  }

  shape(name: string): readonly number[] {
    const stored = this.checkpoint.stored.get(name);
    if (stored === undefined)
      throw new OpabiniaError(`${this.path} has no tensor '${name}'`, {
        op: 'verify',
        advice: 'the file may be of another kind than it says',
      });
    return stored.shape;
  }

  /** The size of one axis; a missing axis is an error. */
  size(name: string, axis: number): number {
    const size = this.shape(name)[axis];
    if (size === undefined)
      throw new OpabiniaError(
        `'${name}' of ${this.path} has ${this.shape(name).length} axes; axis ${axis} was expected`,
        { op: 'verify' },
      );
    return size;
  }

  numbers(name: string): readonly number[] {
    return Array.from(this.checkpoint.tensor(name), Number);
  }

  /** How many of `prefix0`, `prefix1`, … there are. */
  count(prefix: string): number {
    let count = 0;
    while (this.has(`${prefix}${count}`)) count++;
    return count;
  }

  /** Names of the expected outputs, without `output.`. */
  get outputs(): readonly string[] {
    return [...this.checkpoint.stored.keys()]
      .filter((name) => name.startsWith('output.'))
      .map((name) => name.slice('output.'.length))
      .sort();
  }
}

function readConfig(path: string, checkpoint: Checkpoint): Readonly<Record<string, unknown>> {
  const text = checkpoint.metadata.get('config');
  if (text === undefined)
    throw new OpabiniaError(`${path} has no config in its metadata`, {
      op: 'verify',
      advice: 'a golden file has __metadata__.config, JSON as a string',
    });
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (cause) {
    throw new OpabiniaError(`the config of ${path} is not JSON`, { op: 'verify', cause });
  }
  if (typeof parsed !== 'object' || parsed === null)
    throw new OpabiniaError(`the config of ${path} is not an object`, { op: 'verify' });
  return { ...parsed };
}

/**
 * Collects the graph outputs that a file expects. Its `inspect` is given to the models: an intermediate activation is taken when
 * the file has `output.inter.<model path without the root>`. Softmax weights are numbered in the order they are computed.
 */
export class OutputRecorder {
  readonly tensors: Record<string, Tensor> = {};
  readonly #wanted: ReadonlySet<string>;
  readonly #root: string;
  #softmaxes = 0;

  constructor(file: GoldenFile, root = '') {
    this.#wanted = new Set(file.outputs);
    this.#root = root;
  }

  wants(name: string): boolean {
    return this.#wanted.has(name);
  }

  /** A result of the model; row-major order of `value` must be that of the file. */
  take(name: string, value: Tensor): void {
    this.tensors[name] = value;
  }

  readonly inspect: Inspect = (path, value) => {
    const local = path.startsWith(this.#root) ? path.slice(this.#root.length) : path;
    const name = `inter.${local.endsWith('softmax') ? `softmax_${this.#softmaxes++}` : local}`;
    if (this.wants(name)) this.take(name, value);
  };
}
