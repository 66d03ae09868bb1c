// What a command about data is given: a file of samples, a mixture, or an index of one.
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { OpabiniaError } from '../../dsl/error.ts';
import { openLlavaFile, type LlavaFile } from '../train/data/llava-file.ts';
import { openIndex } from '../train/data/mixture-index.ts';
import { isMix, readMix } from './read-mix.ts';
import { requirePath } from '../../dsl/graph/required.ts';

export interface DataInput {
  readonly name: string;
  readonly file: LlavaFile;
  /** Folder of the pictures; empty where samples have whole paths. */
  readonly images: string;
}

/**
 * All samples of all sources, capped or not; to be closed by the caller. Throws `OpabiniaError`.
 * @example openInputs('train.jsonl', 'pictures')
 */
export function openInputs(path: string, images: string | undefined): readonly DataInput[] {
  requirePath('openInputs', path, 'the data', "openInputs('train.jsonl', 'pictures')");
  if (images !== undefined)
    requirePath('openInputs', images, 'the folder of pictures', "openInputs('train.jsonl', 'pictures')");
  if (path.endsWith('.safetensors')) {
    refuseImages(path, images);
    return [{ name: path, file: openIndex(path), images: '' }];
  }
  if (!isMix(path)) {
    const folder = images ?? dirname(path);
    if (!existsSync(folder))
      throw new OpabiniaError(`there is no folder of pictures ${folder}`, { op: 'data', advice: 'check --images' });
    return [{ name: path, file: openLlavaFile(path), images: folder }];
  }
  refuseImages(path, images);
  const opened: DataInput[] = [];
  try {
    for (const source of readMix(path).sources) {
      if (source.file === undefined)
        throw new OpabiniaError(`'${source.name}' is a count without a file`, { op: 'data', advice: 'give its file' });
      opened.push({ name: source.name, file: openLlavaFile(source.file), images: source.images });
    }
  } catch (error) {
    for (const { file } of opened) file.close();
    throw error;
  }
  return opened;
}

/** Throws `OpabiniaError` where a folder of pictures is given for what says where they are. */
export function refuseImages(path: string, images: string | undefined): void {
  if (images !== undefined)
    throw new OpabiniaError(`${path} says where its pictures are, and so does --images ${images}`, {
      op: 'data',
      advice: 'leave --images away',
    });
}
