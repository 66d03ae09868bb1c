// A golden file: weights under the checkpoint's names, `input.*`, `output.*`, and the config it was made with.
import { OpabiniaError } from '../../dsl/error.ts';
import { ConfigReader } from '../../models/configs/config-reader.ts';
import type { Inspect } from '../../models/sequence/regions.ts';
import type { Tensor } from '../../dsl/index.ts';
import { openCheckpoint, type Checkpoint } from '../../runtime/checkpoint/checkpoint.ts';

export type ComputeDType = 'f32' | 'f16';

export class GoldenFile {
  readonly path: string;
  readonly kind: string;
  readonly config: ConfigReader;
  readonly checkpoint: Checkpoint;
  readonly dtype: ComputeDType;

  /** Opens and checks a file; its checkpoint must be closed. Throws `OpabiniaError`. */
  constructor(path: string, dtype: ComputeDType = 'f32') {
    this.path = path;
    this.dtype = dtype;
    this.checkpoint = openCheckpoint(path, { dtype });
    try {
      const values = readConfig(path, this.checkpoint);
      this.config = new ConfigReader(values, path);
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
    return this.#below('output.');
  }

  /** What the expected gradients are taken by, without `grad.`: paths of parameters, `input.X`, `inter.X`. */
  get gradients(): readonly string[] {
    return this.#below('grad.');
  }

  #below(prefix: string): readonly string[] {
    return [...this.checkpoint.stored.keys()]
      .filter((name) => name.startsWith(prefix))
      .map((name) => name.slice(prefix.length))
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
