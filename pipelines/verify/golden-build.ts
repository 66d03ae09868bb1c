// What a golden file of a connector gives to the model that is made of it, and where its outputs go.
import { OpabiniaError } from '../../dsl/error.ts';
import {
  rearrange,
  repeat,
  slice,
  type DType,
  type Float,
  type Params,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import type { ConnectorContext } from '../../models/connectors/connector.ts';
import type { VisualTokens } from '../../models/connectors/visual-tokens.ts';
import type { FeatureMap } from '../../models/sequence/regions.ts';
import type { Numbers } from '../../runtime/program/numbers.ts';
import type { GoldenFile, OutputRecorder } from './golden-file.ts';

/** Builds the outputs of one file. Those that are known without the graph are returned. */
export type Adapter = (golden: GoldenBuild) => ReadonlyMap<string, Numbers> | void;

/** Adapters by the `name` of a golden file's config. Every file of `connectors/` exports one such table as `adapters`. */
export type Adapters = Readonly<Record<string, Adapter>>;

export class GoldenBuild {
  readonly file: GoldenFile;
  readonly trace: Trace;
  readonly params: Params;
  readonly inputs = new Map<string, Numbers>();
  readonly #recorder: OutputRecorder;
  readonly #made = new Map<string, Tensor>();

  constructor(file: GoldenFile, trace: Trace, recorder: OutputRecorder) {
    this.file = file;
    this.trace = trace;
    this.params = trace.params;
    this.#recorder = recorder;
  }

  get config(): GoldenFile['config'] {
    return this.file.config;
  }

  /** The tensor `input.NAME` as an input of the graph: floats in the file's dtype. */
  input<S extends string>(name: string, axes: S): Tensor<S, Float> {
    return this.#input(name, axes, this.file.dtype) as Tensor<S, Float>;
  }

  integers<S extends string>(name: string, axes: S): Tensor<S, 'i32'> {
    return this.#input(name, axes, 'i32') as Tensor<S, 'i32'>;
  }

  /** 0 and 1 as false and true. */
  mask<S extends string>(name: string, axes: S): Tensor<S, 'bool'> {
    return this.#input(name, axes, 'bool') as Tensor<S, 'bool'>;
  }

  /** The numbers of `input.NAME`, for what is not computed with but decides sizes. */
  numbers(name: string): readonly number[] {
    return this.file.numbers(`input.${name}`);
  }

  /**
   * `input.NAME`, tokens `b n c` after `skip` class tokens, as the grid that they are: of `grid` in the config where that is there, a
   * side or rows and columns, else square.
   */
  gridMap(name = 'features', skip = 0): FeatureMap {
    const tokens = slice(this.input(name, 'b n c'), 'n', { start: skip });
    const grid = this.config.raw('grid');
    const rows = Array.isArray(grid) ? Number(grid[0]) : Math.round(Math.sqrt(tokens.size('n')));
    return rearrange(tokens, 'b (h w) c -> b h w c', { h: rows });
  }

  /** Tokens whose order is that of squares of `merge` × `merge`, one square after the other, as a map that has these squares below one another. */
  blockMap(tokens: Tensor<'n c', Float>, merge: number): FeatureMap {
    return rearrange(repeat(tokens, 'n c -> b n c', { b: 1 }), 'b (n i j) c -> b h=(n i) w=(j) c', {
      i: merge,
      j: merge,
    });
  }

  /** Pieces of a tensor of tokens, one behind the other, of these sizes. */
  pieces(tokens: Tensor<'n c', Float>, sizes: readonly number[]): readonly Tensor<'n c', Float>[] {
    let start = 0;
    return sizes.map((size) => {
      const piece = slice(tokens, 'n', { start, size });
      start += size;
      return piece;
    });
  }

  /** `input.NAME`, tokens `b n c` of any number, as a map of one row: for connectors that do not ask where a token lies. */
  rowMap(name = 'features'): FeatureMap {
    return rearrange(this.input(name, 'b n c'), 'b (h n) c -> b h w=(n) c', { h: 1 });
  }

  /** A context that takes intermediate activations whose names the file has. */
  get context(): ConnectorContext {
    return { inspect: (path, value) => this.take(path, value) };
  }

  /** `output.NAME`; its elements in row-major order are those of the file. Outputs that the file does not have are left out. */
  take(name: string, value: Tensor): void {
    if (this.#recorder.wants(name)) this.#recorder.take(name, value);
  }

  /** The visual tokens as `output.tokens`. */
  takeTokens({ tokens }: VisualTokens, name = 'tokens'): void {
    this.take(name, tokens);
  }

  #input(name: string, axes: string, dtype: DType): Tensor {
    const known = this.#made.get(`${name} ${axes}`);
    if (known !== undefined) return known;
    const shape = this.file.shape(`input.${name}`);
    const names = axes.split(' ');
    if (names.length !== shape.length)
      throw new OpabiniaError(`'input.${name}' of ${this.file.path} has ${shape.length} axes, not '${axes}'`, {
        op: 'verify',
        advice: 'the file may be damaged',
      });
    const sizes = Object.fromEntries(names.map((axis, i) => [axis, shape[i] ?? 1]));
    const made: Tensor = this.trace.input<string, DType>(name, axes, sizes, dtype);
    this.inputs.set(name, this.numbers(name));
    this.#made.set(`${name} ${axes}`, made);
    return made;
  }
}
