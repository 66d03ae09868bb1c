// What an export is given, and what it gives.
import type { Axis } from '../../dsl/axis/axis.ts';
import type { DType } from '../../dsl/graph/op.ts';

/** Where a parameter stands in a file, as it is. */
export interface StoredWeight {
  readonly dtype: 'F64' | 'F32' | 'F16' | 'BF16';
  /** The file, relative to the model's. */
  readonly location: string;
  readonly offset: number;
  readonly length: number;
}

/** Where the model finds its parameters. */
export interface Weights {
  /** A place in a file that the model will refer to; undefined where the values go into the model. */
  placeOf?(path: string, shape: readonly number[]): StoredWeight | undefined;
  /**
   * A place of f32 for the tensor with its axes in another order: numbers lie as they are read, and no session turns them round for
   * itself. Where it is there it is asked for every tensor of f32, once for each order in which one is read.
   */
  placeInOrder?(path: string, shape: readonly number[], order: readonly number[]): StoredWeight;
  /** Row-major values. */
  read(path: string, shape: readonly number[]): ArrayLike<number>;
}

export interface ExportOptions {
  readonly weights: Weights;
  /** Only operators that ONNX itself defines by elementary ones; by default composites are single operators. */
  readonly plain?: boolean;
  readonly name?: string;
}

/** One input or output of the model, and what it is in our graph. */
export interface Port {
  readonly kind: 'input' | 'state' | 'symbol' | 'output';
  /** Its name in our graph. */
  readonly name: string;
  /** Its name in the model. */
  readonly tensor: string;
  readonly dtype: DType | 'i64';
  readonly axes: readonly Axis[];
}

export interface OnnxModel {
  readonly bytes: Uint8Array;
  readonly inputs: readonly Port[];
  /** Outputs, then the states that the graph writes, as they are after the run. */
  readonly outputs: readonly Port[];
  /** How many operators of each name. */
  readonly operators: ReadonlyMap<string, number>;
}
