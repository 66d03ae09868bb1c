// Every storage format by name. A new one is a record and a line here.
import { affine, type ScaleDType } from './affine.ts';
import type { StorageFormat } from './format.ts';
import { q2_K, q3_K } from './q2-k.ts';
import { q4_0, q4_1 } from './q4.ts';
import { q4_K, q5_K } from './q4-k.ts';
import { q5_0, q5_1 } from './q5.ts';
import { q6_K } from './q6-k.ts';
import { q8_0 } from './q8-0.ts';

/** Formats whose block is fixed, which ggml writes. */
export const blockFormats: readonly StorageFormat[] = [q8_0, q4_0, q4_1, q5_0, q5_1, q2_K, q3_K, q4_K, q5_K, q6_K];

const byName = new Map(blockFormats.map((format) => [format.name, format]));

/** The format of this name, affine groups of any size included; undefined where there is none. */
export function storageFormat(name: string): StorageFormat | undefined {
  const known = byName.get(name);
  if (known !== undefined) return known;
  const [, bits, group, scale, offset] = /^affine([48])_(\d{1,6})_(f32|f16|bf16)_(bias|zero)$/.exec(name) ?? [];
  if (bits === undefined || Number(group) % 8 !== 0 || Number(group) === 0) return undefined;
  return affine({
    bits: bits === '4' ? 4 : 8,
    group: Number(group),
    scale: scale as ScaleDType,
    offset: offset === 'bias' ? 'bias' : 'zero',
  });
}
