// What a model is known by: digests of what decides its answers. Weights are sampled, since reading tens of gigabytes would take longer
// than asking.
import { createHash } from 'node:crypto';
import { closeSync, existsSync, fstatSync, readSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { contentKey } from '../../runtime/files/content-key.ts';
import { openRegular } from '../../runtime/files/regular-file.ts';
import type { OpenedModel } from '../answer/open-model.ts';

const texts = [
  'config.json',
  'tokenizer.json',
  'tokenizer.model',
  'tokenizer_config.json',
  'chat_template.jinja',
  'generation_config.json',
  'preprocessor_config.json',
  'processor_config.json',
];
/** Files up to 16 MiB are read whole. */
const [samples, sampleBytes] = [4096, 4096];

/** `dtype` and `weights`: as the command was told, since the answers depend on them. */
export function modelIdentity(
  { directory, weights, source }: OpenedModel,
  stored: string,
): Readonly<Record<string, string>> {
  // Those of the towers too, whose pictures are made as their own files say.
  const folders = [...new Set([directory, ...weights.map(({ path }) => dirname(path))])];
  const files = folders.flatMap((folder) => texts.map((name) => join(folder, name)));
  const key = contentKey(
    [],
    files.filter((file) => existsSync(file)),
  );
  const hash = createHash('sha256');
  for (const { root, path } of weights) for (const file of filesOf(path)) hash.update(`${root} ${sampled(file)}`);
  return {
    texts: key.slice(0, 16),
    weights: hash.digest('hex').slice(0, 16),
    storage: `${source.dtype}${stored === '' ? '' : ` ${stored}`}`,
  };
}

/** The shards that an index names, or the file itself. */
function filesOf(path: string): readonly string[] {
  if (!path.endsWith('.index.json')) return [path];
  const checkpoint = openCheckpoint(path);
  try {
    return checkpoint.files;
  } finally {
    checkpoint.close();
  }
}

/** Size, head, and pieces all along the file. */
function sampled(path: string): string {
  const hash = createHash('sha256');
  const descriptor = openRegular(path, 'eval');
  try {
    const { size } = fstatSync(descriptor);
    const buffer = Buffer.alloc(sampleBytes);
    hash.update(String(size));
    for (let i = 0; i < samples; i++) {
      const at = Math.floor((Math.max(0, size - sampleBytes) * i) / (samples - 1));
      hash.update(buffer.subarray(0, readSync(descriptor, buffer, 0, sampleBytes, at)));
    }
    return hash.digest('hex');
  } finally {
    closeSync(descriptor);
  }
}
