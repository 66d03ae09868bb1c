// What a model's weights are known by, of files too large to be read whole, and of packed ones.
import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { quantizeModel } from '../../pipelines/quantize/quantize-model.ts';
import { makeLanguage } from '../support/made-language.ts';
import { modelIdentity, weightsDigest } from '../../pipelines/model-identity.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-identity-'));
afterAll(() => rmSync(root, { recursive: true }));

/** A file of zeros with a long header, most of which takes no room on the disk. */
function weightsNamed(file: string, names: readonly string[], dirt?: number): string {
  const path = join(root, file);
  const each = 2 ** 20;
  const header = Buffer.from(
    JSON.stringify(
      Object.fromEntries(
        names.map((name, i) => [name, { dtype: 'F32', shape: [each / 4], data_offsets: [i * each, (i + 1) * each] }]),
      ),
    ),
  );
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  const descriptor = openSync(path, 'w');
  writeSync(descriptor, Buffer.concat([length, header]));
  ftruncateSync(descriptor, 8 + header.length + names.length * each);
  if (dirt !== undefined) writeSync(descriptor, Buffer.alloc(2 ** 18, 1), 0, 2 ** 18, dirt);
  closeSync(descriptor);
  return weightsDigest([path]);
}

test('weights that change places, and a part of one, are other weights', () => {
  const names = Array.from({ length: 400 }, (_, i) => `layers.${String(i).padStart(3, '0')}.weight`);
  const known = weightsNamed('a.safetensors', names);
  expect(weightsNamed('b.safetensors', names)).toBe(known);
  // In the middle of the header, between two pieces.
  const swapped = names.with(200, names[201] ?? '').with(201, names[200] ?? '');
  expect(weightsNamed('b.safetensors', swapped)).not.toBe(known);
  expect(weightsNamed('b.safetensors', names, 100 * 2 ** 20)).not.toBe(known);
});

test('a model whose matrices are packed is known by them', async () => {
  const out = join(root, 'packed');
  await quantizeModel(makeLanguage(join(root, 'plain'), 'llama'), { format: 'q8', out, group: 32 });
  const known = async (): Promise<unknown> => {
    const opened = await openModel(out);
    opened.close();
    return modelIdentity(opened, '')['weights'];
  };
  const before = await known();
  const file = join(out, readdirSync(out).find((name) => name.endsWith('.safetensors')) ?? '');
  const bytes = readFileSync(file);
  writeFileSync(file, bytes.with(-1, (bytes.at(-1) ?? 0) ^ 1));
  expect(await known()).not.toBe(before);
});
