// What a storage format is: rows of blocks along the last axis of a tensor, each block so many elements in so many bytes. A format is one
// record; who reads weights (the interpreter, kernels, checkpoints) asks its fields and knows no name.

/** Expressions of WGSL that read little-endian integers at a byte of a buffer, an even one but for `byte`. */
export interface WgslBytes {
  /** 8 bits, as u32. */
  byte(at: string): string;
  /** 16 bits, as u32. */
  half(at: string): string;
  /** 32 bits. */
  word(at: string): string;
}

/** Blocks as a device holds them, codes apart from scales: w = (code − zero)·scale, or less or more an offset of each group. */
export interface Planes {
  /** Low bits of a code, side by side in words. */
  readonly bits: 2 | 4 | 8;
  /** Further bits of a code, above those: in words of their own. */
  readonly high?: 1 | 2;
  /** Elements that share a scale; they divide the block, and their bits fill whole words. */
  readonly group: number;
  readonly zero: number;
  /** Scales and offsets are not in f16: they are held as f32 whatever the dtype of the graph. */
  readonly wide?: true;
  scale(block: DataView, at: number, group: number): number;
  /** Of element `e` of the block, as an unsigned number: all its bits. */
  code(block: DataView, at: number, e: number): number;
  /** The low bits of the codes of word `w`, as they lie side by side: what `code` tells one by one, where it can be had at once. */
  word?(block: DataView, at: number, w: number): number;
  /** The same of the further bits. */
  highWord?(block: DataView, at: number, w: number): number;
  /** `bias`: code·scale + offset. `zero`: (code − offset)·scale. */
  readonly offset?: { readonly kind: 'bias' | 'zero'; of(block: DataView, at: number, group: number): number };
}

export interface StorageFormat {
  readonly name: string;
  /** The block, field by field, and what an element is. */
  readonly doc: string;
  /** Elements of a block: the last axis of a stored tensor is a multiple of them. */
  readonly block: number;
  /** Bytes of a block; even, so that 16-bit fields never straddle a word. */
  readonly bytes: number;
  /** The block that begins at byte `at`, as f32, into `into` from `start` on. Every product is exact in f32: at most one addition rounds. */
  decode(block: DataView, at: number, into: Float32Array, start: number): void;
  /** `block` finite values of `from` from `start` on into the bytes from `at` on; absent where no encoder is specified. */
  readonly encode?: (from: Float32Array, start: number, block: DataView, at: number) => void;
  /** Most that encoding and decoding changes a value of a block with this least and greatest value, where its scale is not an infinite f16. */
  readonly roundTrip?: (least: number, greatest: number) => number;
  readonly planes: Planes;
  /**
   * Statements of a WGSL function `(at: u32, e: u32) -> vec4f`: elements `e … e+3`, where `e` is a multiple of 4, of the block at byte `at`.
   * They may call the functions of `wgsl.ts`.
   */
  wgsl(bytes: WgslBytes): string;
}

/** Bytes of a tensor of this shape; undefined where its last axis is not a multiple of the block. */
export function storedBytesOf({ block, bytes }: StorageFormat, shape: readonly number[]): number | undefined {
  const inner = shape.at(-1) ?? 1;
  return inner % block === 0 ? (shape.reduce((product, size) => product * size, 1) / block) * bytes : undefined;
}

/** All blocks of `bytes` as numbers. */
export function decodeBlocks(format: StorageFormat, bytes: Uint8Array): Float32Array {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const count = Math.floor(bytes.byteLength / format.bytes);
  const values = new Float32Array(count * format.block);
  for (let i = 0; i < count; i++) format.decode(view, i * format.bytes, values, i * format.block);
  return values;
}

/** Numbers, a multiple of the block, as blocks. Throws `RangeError` for a format that has no encoder, and for what is not a multiple. */
export function encodeBlocks(format: StorageFormat, values: Float32Array): Uint8Array<ArrayBuffer> {
  if (format.encode === undefined) throw new RangeError(`${format.name} can be read, not written`);
  if (values.length % format.block !== 0)
    throw new RangeError(`${values.length} values are not a multiple of ${format.block}, the block of ${format.name}`);
  const count = values.length / format.block;
  const bytes = new Uint8Array(count * format.bytes);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < count; i++) format.encode(values, i * format.block, view, i * format.bytes);
  return bytes;
}
