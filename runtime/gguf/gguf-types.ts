// ggml's types of tensors by their number in the file: those that are read, and the names of the others.
import type { StorageFormat } from '../../dsl/storage/format.ts';
import { storageFormat } from '../../dsl/storage/index.ts';

export type GgufType =
  | { readonly kind: 'plain'; readonly dtype: 'F32' | 'F16' | 'BF16' }
  | { readonly kind: 'blocks'; readonly format: StorageFormat };

const plain = { 0: 'F32', 1: 'F16', 30: 'BF16' } as const;
const blocks: Readonly<Record<number, string>> = {
  2: 'q4_0',
  3: 'q4_1',
  6: 'q5_0',
  7: 'q5_1',
  8: 'q8_0',
  10: 'q2_K',
  11: 'q3_K',
  12: 'q4_K',
  13: 'q5_K',
  14: 'q6_K',
};
/** Known by name, not read. */
const others: Readonly<Record<number, string>> = {
  9: 'q8_1',
  15: 'q8_K',
  16: 'iq2_xxs',
  17: 'iq2_xs',
  18: 'iq3_xxs',
  19: 'iq1_s',
  20: 'iq4_nl',
  21: 'iq3_s',
  22: 'iq2_s',
  23: 'iq4_xs',
  24: 'i8',
  25: 'i16',
  26: 'i32',
  27: 'i64',
  28: 'f64',
  29: 'iq1_m',
  34: 'tq1_0',
  35: 'tq2_0',
  39: 'mxfp4',
  40: 'nvfp4',
  41: 'q1_0',
};

/** Undefined for a type that is not read. */
export function ggufType(id: number): GgufType | undefined {
  if (id === 0 || id === 1 || id === 30) return { kind: 'plain', dtype: plain[id] };
  const format = storageFormat(blocks[id] ?? '');
  return format === undefined ? undefined : { kind: 'blocks', format };
}

export function ggufTypeName(id: number): string {
  return plain[id as keyof typeof plain]?.toLowerCase() ?? blocks[id] ?? others[id] ?? `of the unknown number ${id}`;
}

export const readableTypes: readonly string[] = ['f32', 'f16', 'bf16', ...Object.values(blocks)];
