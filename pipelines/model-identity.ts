// What a model is known by: digests of what decides its answers. Weights are sampled, since reading tens of gigabytes would take longer
// than asking.
import { createHash } from 'node:crypto';
import { closeSync, existsSync, fstatSync, readSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { contentKey } from '../runtime/files/content-key.ts';
import { openRegular } from '../runtime/files/regular-file.ts';
import type { OpenedModel } from './answer/open-model.ts';

/** What a prompt and its pictures are made by. */
const texts = [
  'config.json',
  'tokenizer.json',
  'tokenizer.model',
  'tokenizer_config.json',
  'chat_template.jinja',
  'preprocessor_config.json',
  'processor_config.json',
];
/** How an answer is drawn, which a training does not ask. */
const settings = ['generation_config.json'];
/** Files up to 16 MiB are read whole. */
const [samples, sampleBytes] = [4096, 4096];
const mostHeader = 100 * 2 ** 20;

/** What a training begins with. */
export interface ModelDigest {
  readonly texts: string;
  /** By what stands before the names of the weights: a tower, or `model`. */
  readonly weights: Readonly<Record<string, string>>;
}

export function modelDigest(model: Pick<OpenedModel, 'directory' | 'read'>): ModelDigest {
  const roots = [...new Set(model.read.map(({ root }) => root))];
  const filesOf = (root: string): readonly string[] =>
    model.read.filter((one) => one.root === root).map(({ path }) => path);
  return {
    texts: textsDigest(model, texts),
    weights: Object.fromEntries(roots.map((root) => [rootName(root), weightsDigest(filesOf(root))])),
  };
}

/** As `ModelDigest` calls weights whose names stand below `root`. */
export function rootName(root: string): string {
  return root === '' ? 'model' : root;
}

/** `dtype` and `weights`: as the command was told, since the answers depend on them. */
export function modelIdentity(model: OpenedModel, stored: string): Readonly<Record<string, string>> {
  return {
    texts: textsDigest(model, [...texts, ...settings]),
    weights: weightsDigest(model.read.map(({ path }) => path)),
    storage: `${model.source.dtype}${stored === '' ? '' : ` ${stored}`}`,
  };
}

function textsDigest({ directory, read }: Pick<OpenedModel, 'directory' | 'read'>, names: readonly string[]): string {
  // Those of the towers too, whose pictures are made as their own files say.
  const folders = [...new Set([directory, ...read.map(({ path }) => dirname(path))])];
  const files = folders.flatMap((folder) => names.map((name) => join(folder, name))).filter((file) => existsSync(file));
  return contentKey([], files).slice(0, 16);
}

/** Digest of the files of weights, in their order. */
export function weightsDigest(files: readonly string[]): string {
  const hash = createHash('sha256');
  for (const file of files) hash.update(sampled(file));
  return hash.digest('hex').slice(0, 16);
}

/** Size, all of a safetensors header, since what a number is called may change where it lies, and pieces all along the file. */
function sampled(path: string): string {
  const hash = createHash('sha256');
  const descriptor = openRegular(path, 'read');
  try {
    const { size } = fstatSync(descriptor);
    const buffer = Buffer.alloc(sampleBytes);
    hash.update(String(size));
    if (path.endsWith('.safetensors') && readSync(descriptor, buffer, 0, 8, 0) === 8) {
      const header = Buffer.alloc(Math.min(Number(buffer.readBigUInt64LE()), size, mostHeader));
      hash.update(header.subarray(0, readSync(descriptor, header, 0, header.length, 8)));
    }
    for (let i = 0; i < samples; i++) {
      const at = Math.floor((Math.max(0, size - sampleBytes) * i) / (samples - 1));
      hash.update(buffer.subarray(0, readSync(descriptor, buffer, 0, sampleBytes, at)));
    }
    return hash.digest('hex');
  } finally {
    closeSync(descriptor);
  }
}
