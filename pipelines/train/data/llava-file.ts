// Samples in the format of LLaVA and Cambrian: one JSON object a line, or a JSON array of them. A line is read when it is asked for.
import { closeSync, fstatSync, readSync } from 'node:fs';
import { z } from 'zod';
import { OpabiniaError } from '../../../dsl/error.ts';
import { openRegular } from '../../../runtime/files/regular-file.ts';
import type { Turn } from '../../../models/sequence/conversation.ts';

/** A sample as it stands in its file. */
export interface LlavaSample {
  /** Path of the picture, relative to the folder of pictures. */
  readonly image: string | undefined;
  readonly turns: readonly Turn[];
  /** Words of all turns, below 0 where the sample has no picture: what batches are grouped by. */
  readonly length: number;
}

export interface LlavaFile {
  readonly path: string;
  readonly count: number;
  /** Throws `OpabiniaError` with file, line and field. */
  sample(index: number): LlavaSample;
  close(): void;
}

const turnSchema = z.looseObject({ from: z.enum(['human', 'gpt']), value: z.string() });
const schema = z.looseObject({
  image: z.string().nullish(),
  conversations: z.array(turnSchema).min(1),
});

/** Spellings of an image that is none. */
const noImage = new Set(['', 'None', 'none', 'nan']);
const imageWord = '<image>';
const chunkBytes = 2 ** 20;
const lineLimit = 64 * 2 ** 20;

/** Throws `OpabiniaError` for a file that is missing, empty, or an array that does not parse. */
export function openLlavaFile(path: string): LlavaFile {
  const descriptor = open(path);
  try {
    const first = firstByte(descriptor);
    if (first === undefined)
      throw new OpabiniaError(`${path} is empty`, { op: 'data', advice: 'give a file with at least one sample' });
    return first === '[' ? arrayFile(path, descriptor) : linesFile(path, descriptor);
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

function open(path: string): number {
  try {
    return openRegular(path, 'data');
  } catch (cause) {
    const reason = cause instanceof OpabiniaError ? cause.what : String(cause);
    throw new OpabiniaError(`${path} cannot be read: ${reason}`, {
      op: 'data',
      cause,
      advice: 'check the path in the recipe: it is taken from the folder that the command runs in',
    });
  }
}

function firstByte(descriptor: number): string | undefined {
  const buffer = Buffer.alloc(4096);
  const count = readSync(descriptor, buffer, 0, buffer.length, 0);
  return buffer.toString('utf8', 0, count).trimStart()[0];
}

function linesFile(path: string, descriptor: number): LlavaFile {
  const { starts, lines } = lineStarts(descriptor);
  return {
    path,
    count: lines.length,
    sample: (index) => {
      const [from, to] = [starts[index] ?? 0, starts[index + 1] ?? 0];
      const line = lines[index] ?? 0;
      if (to - from > lineLimit)
        throw lineError(path, line, `has ${to - from} bytes`, 'a sample is one line of a few kilobytes');
      const buffer = Buffer.alloc(to - from);
      readSync(descriptor, buffer, 0, buffer.length, from);
      return readSample(parseLine(buffer.toString('utf8'), path, line), path, `line ${line}`);
    },
    close: () => closeSync(descriptor),
  };
}

/** Where each line that holds something begins, the end last; and the number of each, from 1. */
function lineStarts(descriptor: number): { readonly starts: readonly number[]; readonly lines: readonly number[] } {
  const [starts, lines]: [number[], number[]] = [[], []];
  const size = fstatSync(descriptor).size;
  const buffer = Buffer.alloc(chunkBytes);
  let [at, begin, line, blank] = [0, 0, 1, true];
  const take = (): void => {
    if (!blank) {
      starts.push(begin);
      lines.push(line);
    }
  };
  while (at < size) {
    const count = readSync(descriptor, buffer, 0, buffer.length, at);
    if (count === 0) break;
    for (let i = 0; i < count; i++) {
      const byte = buffer[i] ?? 0;
      if (byte === 10) {
        take();
        begin = at + i + 1;
        line++;
        blank = true;
      } else if (byte > 32) blank = false;
    }
    at += count;
  }
  take();
  // A blank line between two samples belongs to the one before it, which does not mind.
  return { starts: [...starts, size], lines };
}

function parseLine(text: string, path: string, line: number): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw lineError(
      path,
      line,
      `does not parse: ${cause instanceof Error ? cause.message : String(cause)}`,
      'each line is one JSON object',
      cause,
    );
  }
}

function lineError(path: string, line: number, what: string, advice: string, cause?: unknown): OpabiniaError {
  return new OpabiniaError(`${path}, line ${line}, ${what}`, { op: 'data', advice, cause });
}

function arrayFile(path: string, descriptor: number): LlavaFile {
  const size = fstatSync(descriptor).size;
  if (size > 400 * 2 ** 20)
    throw new OpabiniaError(`${path} is an array of ${Math.round(size / 2 ** 20)} MiB, which is read at once`, {
      op: 'data',
      advice: "write it as one object a line: jq -c '.[]'",
    });
  const buffer = Buffer.alloc(size);
  for (let at = 0; at < size;) {
    const count = readSync(descriptor, buffer, at, size - at, at);
    if (count === 0) break;
    at += count;
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(buffer.toString('utf8'));
  } catch (cause) {
    throw new OpabiniaError(`${path} does not parse: ${cause instanceof Error ? cause.message : String(cause)}`, {
      op: 'data',
      cause,
      advice: 'the file is an array of samples, or one JSON object a line',
    });
  }
  const items: readonly unknown[] = Array.isArray(parsed) ? parsed : [];
  return {
    path,
    count: items.length,
    sample: (index) => readSample(items[index], path, `element ${index}`),
    close: () => closeSync(descriptor),
  };
}

/**
 * As the reference reads it: a first turn that is not a human's is dropped, roles alternate, `<image>` is taken from where it stands and
 * put in front of its turn.
 */
export function readSample(json: unknown, path: string, where: string): LlavaSample {
  const found = schema.safeParse(json);
  if (!found.success) {
    const [issue] = found.error.issues;
    const field = issue?.path.map((key) => (typeof key === 'number' ? `[${key}]` : `.${String(key)}`)).join('') ?? '';
    throw new OpabiniaError(`${path}, ${where}, field '${field.replace(/^\./, '')}': ${issue?.message ?? 'is wrong'}`, {
      op: 'data',
      advice: 'a sample is {"image": "path", "conversations": [{"from": "human", "value": "…"}, {"from": "gpt", …}]}',
    });
  }
  const { image, conversations } = found.data;
  const said = conversations[0]?.from === 'human' ? conversations : conversations.slice(1);
  const turns = said.map(({ from, value }, i): Turn => {
    const role = from === 'human' ? 'user' : 'assistant';
    if (role !== (i % 2 === 0 ? 'user' : 'assistant'))
      throw new OpabiniaError(
        `${path}, ${where}, field 'conversations[${i + conversations.length - said.length}].from': two turns of '${from}' in a row`,
        {
          op: 'data',
          advice: 'human and gpt take turns',
        },
      );
    return value.includes(imageWord)
      ? { role, text: value.replaceAll(imageWord, '').trim(), images: 1 }
      : { role, text: value };
  });
  const words = conversations.reduce(
    (sum, { value }) => sum + value.split(/\s+/).filter((word) => word !== '').length,
    0,
  );
  const hasKey = typeof json === 'object' && json !== null && 'image' in json;
  return {
    image: image === null || image === undefined || noImage.has(image) ? undefined : image,
    turns,
    length: Math.max(1, words) * (hasKey ? 1 : -1),
  };
}
