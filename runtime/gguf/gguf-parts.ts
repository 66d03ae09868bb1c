// A model that llama-gguf-split has cut into files: settings in the first, tensors in all.
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import { oneLine } from '../../dsl/text/one-line.ts';
import { leadsOut } from '../checkpoint/links.ts';
import { GgufError, openGguf, type GgufFile, type GgufTensor } from './gguf-file.ts';
import { GgufSettings } from './gguf-settings.ts';

const mostParts = 1024;
const partName = /^(.*-)(\d{5})(-of-)(\d{5})(\.gguf)$/is;

/** Whether the name is that of a part behind the first. */
export function isLaterPart(name: string): boolean {
  const [, , number] = partName.exec(name) ?? [];
  return number !== undefined && Number(number) > 1;
}

/**
 * The file at `path`; where it is one part of a split model, all parts as one. Throws `GgufError`, also for a part that is not there, or
 * that belongs to another model; nothing stays open then.
 */
export async function openGgufParts(path: string): Promise<GgufFile> {
  const one = await openGguf(path);
  let isKept = false;
  let paths: readonly string[];
  try {
    const count = partsOf(one);
    isKept = count === 1;
    if (isKept) return one;
    paths = pathsOf(path, count);
  } finally {
    if (!isKept) one.close();
  }
  const opened: GgufFile[] = [];
  const close = (): void => opened.forEach((part) => part.close());
  try {
    for (const [i, part] of paths.entries()) {
      const file = await openGguf(part);
      opened.push(file);
      const settings = new GgufSettings(file);
      const number = settings.number('split.no', -1);
      if (number !== i || partsOf(file) !== paths.length)
        throw new GgufError(
          part,
          `says that it is part ${number + 1} of ${partsOf(file)}, and its name says ${i + 1} of ${paths.length}`,
        );
    }
    return { ...joined(opened), close };
  } catch (error) {
    close();
    throw error;
  }
}

function partsOf(file: GgufFile): number {
  const count = new GgufSettings(file).number('split.count', 1);
  // llama-gguf-split leaves 0 or 1 in a model that it has put together again.
  if (Number.isInteger(count) && count >= 0 && count <= mostParts) return Math.max(1, count);
  throw new GgufError(file.path, `says that it is one of ${count} parts; at most ${mostParts} are accepted`);
}

function pathsOf(path: string, count: number): readonly string[] {
  const [, before = '', , of = '', total, end = ''] = partName.exec(path) ?? [];
  if (Number(total) !== count)
    throw new GgufError(
      path,
      `says that it is one of ${count} parts, and its name does not`,
      'name them as llama.cpp does, …-00001-of-00003.gguf, or join them with llama-gguf-split --merge',
    );
  const paths = Array.from(
    { length: count },
    (_, i) => `${before}${String(i + 1).padStart(5, '0')}${of}${total}${end}`,
  );
  const absent = paths.filter((part) => !existsSync(part));
  if (absent.length > 0)
    throw new GgufError(
      path,
      `is one of ${count} parts, and ${absent.length === 1 ? 'this is' : 'these are'} not there: ${absent.slice(0, 4).join(', ')}`,
      'put all parts into one directory',
    );
  const stray = paths.find((part) => part !== path && leadsOut(dirname(path), part));
  if (stray !== undefined)
    throw new GgufError(stray, 'is a link that leads out of its directory', 'copy the file there');
  return paths;
}

function joined(parts: readonly GgufFile[]): Omit<GgufFile, 'close'> {
  const [first] = parts;
  if (first === undefined) throw new TypeError('a split model has parts');
  const tensors = new Map<string, GgufTensor>();
  for (const part of parts)
    for (const [name, tensor] of part.tensors) {
      if (tensors.has(name)) throw new GgufError(part.path, `has '${oneLine(name)}', which a part before it has too`);
      tensors.set(name, tensor);
    }
  const stated = new GgufSettings(first).number('split.tensors.count', tensors.size);
  if (stated !== tensors.size)
    throw new GgufError(first.path, `says that the model has ${stated} tensors, and its parts have ${tensors.size}`);
  const byPath = new Map(parts.map((part) => [part.path, part]));
  return {
    path: first.path,
    files: parts.map((part) => part.path),
    settings: first.settings,
    tensors,
    readInto(tensor, target, offset) {
      const part = byPath.get(tensor.path);
      if (part === undefined) throw new TypeError(`'${tensor.name}' is of another model`);
      part.readInto(tensor, target, offset);
    },
  };
}
