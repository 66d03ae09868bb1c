// A data set of a recipe as samples, checked as far as can be before anything is loaded.
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { basename } from 'node:path';
import { OpabiniaError } from '../../../dsl/error.ts';
import type { DataSet } from '../recipe/recipe.ts';
import { openLlavaFile, type LlavaFile, type LlavaSample } from './llava-file.ts';
import { openIndex } from './mixture-index.ts';
import { openMixture } from './mixture.ts';

export interface OpenData {
  /** Undefined for a generator. */
  readonly file: LlavaFile | undefined;
  readonly count: number;
  /** Of what the first 100,000 samples say, wherever their pictures lie; empty for a generator. */
  readonly key: string;
}

const mostRead = 100_000;

/** Throws `OpabiniaError` for folders of pictures that are not there, and for a wrong sample among the first 100,000. */
export function openDataSet(data: DataSet, seed: number): OpenData {
  if ('samples' in data) return { file: undefined, count: data.count, key: '' };
  const file = openFile(data, seed);
  try {
    if (file.count === 0)
      throw new OpabiniaError(`${file.path} has no samples`, { op: 'data', advice: 'give a file with at least one' });
    // A line that does not parse is told before anything is loaded, not in the middle of a run.
    const hash = createHash('sha256');
    for (let i = 0; i < Math.min(file.count, mostRead); i++) {
      const { image, turns } = file.sample(i);
      hash.update(JSON.stringify([image === undefined ? '' : basename(image), turns]));
    }
    return { file, count: file.count, key: hash.digest('hex').slice(0, 32) };
  } catch (error) {
    file.close();
    throw error;
  }
}

function openFile(data: Exclude<DataSet, { readonly samples: unknown }>, seed: number): LlavaFile {
  if ('index' in data) {
    const file = openIndex(data.index);
    try {
      checkFolders(file.sources);
    } catch (error) {
      file.close();
      throw error;
    }
    return file;
  }
  checkFolders('mixture' in data ? data.mixture : [data]);
  return 'mixture' in data ? openMixture(data, seed) : openLlavaFile(data.file);
}

function checkFolders(sources: readonly { readonly images: string }[]): void {
  const missing = sources.find(({ images }) => !existsSync(images));
  if (missing !== undefined)
    throw new OpabiniaError(`there is no folder of pictures ${missing.images}`, {
      op: 'data',
      advice: 'check `images` in the recipe: it is taken from the folder that the command runs in',
    });
}

/** The samples of a generator. */
export function generatedSamples(data: DataSet): AsyncIterable<LlavaSample> {
  if ('samples' in data) return data.samples();
  throw new TypeError('the data is a file');
}

/** The sample that stands in for one that cannot be used. */
export async function firstSample(data: DataSet, file: LlavaFile | undefined): Promise<LlavaSample> {
  if (file !== undefined) return file.sample(0);
  for await (const sample of generatedSamples(data)) return sample;
  throw new OpabiniaError('the generator of samples gives none', { op: 'data', advice: 'yield at least one sample' });
}
