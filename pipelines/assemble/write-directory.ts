// The files of an assembled directory: weights as they are, file by file; the connector in a file of its own; one index over all.
import { closeSync, readSync } from 'node:fs';
import { basename, extname, join } from 'node:path';
import { fromScratch } from '../shapes/from-scratch.ts';
import { AtomicFile, writeFileAtomic } from '../../runtime/files/atomic-file.ts';
import { breathe } from '../../runtime/files/breathe.ts';
import { openRegular } from '../../runtime/files/regular-file.ts';
import { writeSafetensors } from '../../runtime/checkpoint/safetensors-write.ts';
import type { Layout } from './layout.ts';
import type { LanguagePart, PartWeights, TowerPart } from './parts.ts';
import { makeFolder } from '../../runtime/files/make-folder.ts';

export interface DirectoryParts {
  readonly language: LanguagePart;
  readonly towers: readonly TowerPart[];
  readonly layout: Layout;
  readonly seed: number;
  readonly note?: ((what: string) => void) | undefined;
  readonly signal?: AbortSignal | undefined;
}

const connectorFile = 'connector.safetensors';

/** Into an empty directory. Throws `OpabiniaError`, and the reason of the signal. */
export async function writeDirectory(
  directory: string,
  { language, towers, layout, seed, note, signal }: DirectoryParts,
): Promise<void> {
  writeJson(join(directory, 'config.json'), layout.json);
  const { tokenizer, tokenizerConfig, addedTokens, specialTokens, generationConfig } = language.files;
  for (const path of [tokenizer, tokenizerConfig, addedTokens, specialTokens, generationConfig])
    if (path !== undefined) await copyFile(path, join(directory, basename(path)), signal);
  note?.('copying the language model');
  const names = await copyWeights(language.weights, directory, signal);
  const values = fromScratch(layout.fresh, seed);
  note?.('initializing the connector');
  writeSafetensors(
    join(directory, connectorFile),
    [...layout.fresh].map(([name, shape]) => ({ name, shape, dtype: 'F32', values: values.read(name, shape) })),
    { format: 'pt' },
  );
  const map = new Map([...language.weights.tensors].map(([name, file]) => [name, names.get(file) ?? '']));
  for (const name of layout.fresh.keys()) map.set(name, connectorFile);
  writeJson(join(directory, 'model.safetensors.index.json'), {
    metadata: {
      total_size:
        language.weights.bytes +
        [...layout.fresh.values()].reduce((sum, shape) => sum + 4 * shape.reduce((all, size) => all * size, 1), 0),
    },
    weight_map: Object.fromEntries(map),
  });
  for (const [k, tower] of towers.entries()) {
    const place = join(directory, 'towers', layout.folders[k] ?? String(k));
    makeFolder(place);
    note?.(`copying tower ${k}`);
    for (const path of [tower.config, tower.files.preprocessorConfig])
      if (path !== undefined) await copyFile(path, join(place, basename(path)), signal);
    const { path, files } = tower.weights;
    for (const file of new Set([path, ...files])) await copyFile(file, join(place, basename(file)), signal);
  }
}

function writeJson(path: string, json: unknown): void {
  writeFileAtomic(path, `${JSON.stringify(json, null, 2)}\n`);
}

/** Under names that no reader takes for the whole; gives the new name of each file. */
async function copyWeights(
  { files }: PartWeights,
  directory: string,
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<string, string>> {
  const number = (i: number): string => String(i).padStart(5, '0');
  const names = new Map<string, string>();
  for (const [i, file] of files.entries()) {
    const name = `language-${number(i + 1)}-of-${number(files.length)}${extname(file)}`;
    await copyFile(file, join(directory, name), signal);
    names.set(file, name);
  }
  return names;
}

const chunk = 16 * 2 ** 20;

/** Through one buffer, links followed. Throws `OpabiniaError`, and the reason of the signal. */
async function copyFile(from: string, to: string, signal: AbortSignal | undefined): Promise<void> {
  const descriptor = openRegular(from, 'assemble');
  try {
    const file = new AtomicFile(to, { inputs: [from], op: 'assemble' });
    try {
      const buffer = Buffer.alloc(chunk);
      for (;;) {
        const count = readSync(descriptor, buffer, 0, chunk, null);
        if (count === 0) break;
        await breathe(signal);
        file.write(buffer.subarray(0, count));
      }
      file.commit();
    } catch (error) {
      file.abort();
      throw error;
    }
  } finally {
    closeSync(descriptor);
  }
}
