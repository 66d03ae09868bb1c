// A name for content: SHA-256 over texts and whole files, read in pieces.
import { createHash } from 'node:crypto';
import { closeSync, readSync } from 'node:fs';
import { openRegular } from './regular-file.ts';

/** Hex digits of SHA-256 over texts and the whole content of files. */
export function contentKey(texts: readonly string[], files: readonly string[] = []): string {
  const hash = createHash('sha256');
  for (const text of texts) hash.update(`${text.length} ${text}`);
  const buffer = Buffer.alloc(4 * 2 ** 20);
  for (const file of files) {
    const descriptor = openRegular(file, 'contentKey');
    try {
      for (;;) {
        const count = readSync(descriptor, buffer, 0, buffer.length, null);
        if (count === 0) break;
        hash.update(buffer.subarray(0, count));
      }
    } finally {
      closeSync(descriptor);
    }
  }
  return hash.digest('hex');
}
