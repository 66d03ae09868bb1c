// What the pictures of a data set are known by: pieces of some of them, since to read all of them would take as long as an epoch does.
import { createHash } from 'node:crypto';
import { closeSync, fstatSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { OpabiniaError } from '../../../dsl/error.ts';
import { openRegular } from '../../../runtime/files/regular-file.ts';
import type { LlavaFile } from '../data/llava-file.ts';
import type { DataSet } from '../recipe/recipe.ts';

const [mostPictures, mostBytes] = [1000, 64 * 2 ** 10];

/**
 * SHA-256 over size and the first 64 KiB of the pictures of up to 1,000 samples, spread evenly over the data; where they lie does not count,
 * and one that cannot be read is one that is missing. Empty where there are none, and for a generator.
 */
export function pictureDigest(data: DataSet, file: Pick<LlavaFile, 'count' | 'sample'> | undefined): string {
  if (file === undefined) return '';
  const folder = 'file' in data ? data.images : '';
  const hash = createHash('sha256');
  const buffer = Buffer.alloc(mostBytes);
  const count = Math.min(file.count, mostPictures);
  let found = false;
  for (let i = 0; i < count; i++) {
    const { image } = file.sample(Math.floor((i * file.count) / count));
    if (image === undefined) continue;
    found = true;
    hash.update(pieceOf(join(folder, image), buffer) ?? 'missing');
  }
  return found ? hash.digest('hex').slice(0, 32) : '';
}

/** Its size and how it begins, in `buffer`; undefined for what cannot be read. */
function pieceOf(path: string, buffer: Buffer): Buffer | undefined {
  let descriptor: number;
  try {
    descriptor = openRegular(path, 'data');
  } catch (error) {
    if (error instanceof OpabiniaError) return undefined;
    throw error;
  }
  try {
    const read = readSync(descriptor, buffer, 0, mostBytes, 0);
    return Buffer.concat([Buffer.from(`${fstatSync(descriptor).size} `), buffer.subarray(0, read)]);
  } finally {
    closeSync(descriptor);
  }
}
