// What goes over to the process of ONNX Runtime, and what comes back.
import type { DType } from '../../dsl/graph/op.ts';

export interface WireTensor {
  readonly type: 'float32' | 'float16' | 'int32' | 'uint32' | 'int64' | 'bool';
  readonly dims: readonly number[];
  readonly data: Float64Array | Float32Array | Int32Array | Uint32Array | Uint8Array;
}

/** How elements of a dtype go over; i64 are symbols. */
export const wireTypes = {
  f32: 'float32',
  f16: 'float16',
  bf16: 'float32',
  i32: 'int32',
  u32: 'uint32',
  bool: 'bool',
  i64: 'int64',
} as const satisfies Record<DType | 'i64', WireTensor['type']>;

/** A tensor that lives over there between runs, under a name that sessions share; zeros at first. */
export interface KeptState {
  readonly key: string;
  readonly type: WireTensor['type'];
  readonly dims: readonly number[];
  /** The model's input that reads it, where one does. */
  readonly input: string | undefined;
  /** The model's output that is its new value, where the model writes it. */
  readonly output: string | undefined;
}

export interface OpenModel {
  readonly model: string | Uint8Array;
  /** Absent: one, so that the machine has room for other work and sums come out in one order. */
  readonly threads?: 'all' | undefined;
  /** Matrices are read where they are, which sessions of one file of weights share, and not copied into another layout for each. */
  readonly weightsInPlace?: boolean | undefined;
}

export interface RunModel {
  readonly feeds: ReadonlyMap<string, WireTensor>;
  readonly states?: readonly KeptState[] | undefined;
  /** Names of the outputs to send back, besides none of the states; absent: all outputs. */
  readonly outputs?: readonly string[] | undefined;
}

export type Request = { readonly id: number } & (
  | { readonly kind: 'hello' }
  | ({ readonly kind: 'open'; readonly session: number } & OpenModel)
  | ({ readonly kind: 'run'; readonly session: number } & RunModel)
  /** States begin as zeros again. */
  | { readonly kind: 'forget'; readonly keys: readonly string[] }
  | { readonly kind: 'close'; readonly session: number }
);

export type Results = ReadonlyMap<string, { readonly dims: readonly number[]; readonly data: Float64Array }>;

export interface Reply {
  readonly id: number;
  readonly result?: Results | undefined;
  readonly error?: string;
  /** Bytes of memory that the process has now, and the most it had. */
  readonly memory?: { readonly now: number; readonly peak: number } | undefined;
}
