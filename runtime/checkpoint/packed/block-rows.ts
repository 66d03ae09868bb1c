// A matrix that is stored quantized, as it is read.
import type { StorageFormat } from '../../../dsl/storage/format.ts';

/** Rows of a matrix as blocks of one format, the last block of a row filled up. */
export interface BlockRows {
  readonly format: StorageFormat;
  /** Column `c` of the blocks is column `order[c]` of the matrix; absent where they are in order. */
  readonly order?: Int32Array | undefined;
  read(first: number, count: number): Uint8Array;
}
