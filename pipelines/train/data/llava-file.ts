// Samples in the format of LLaVA and Cambrian: one JSON object a line, or a JSON array of them. A sample is read when it is asked for.
import { closeSync, readSync } from 'node:fs';
import { z } from 'zod';
import { OpabiniaError } from '../../../dsl/error.ts';
import { openRegular } from '../../../runtime/files/regular-file.ts';
import type { Turn } from '../../../models/sequence/conversation.ts';
import { layoutOf, sampleRanges, type SampleLayout, type SampleRange } from './sample-ranges.ts';

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
  /** File and line of a sample, for messages. */
  where(index: number): string;
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
const sampleLimit = 64 * 2 ** 20;
// Without `fatal`, what is no UTF-8 would become U+FFFD, in questions and in labels.
const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** Throws `OpabiniaError` for a file that is missing or empty, and for an array that does not end. */
export function openLlavaFile(path: string): LlavaFile {
  const descriptor = openSamples(path);
  try {
    const layout = neededLayout(descriptor, path);
    const table = new RangeTable();
    for (const range of sampleRanges(descriptor, layout, path)) table.add(range);
    if (table.count === 0) throw emptyFile(path);
    return {
      path,
      count: table.count,
      sample: (index) => {
        const range = table.at(index);
        return readSample(readRange(descriptor, range, layout, path), path, placeOf(range, layout));
      },
      where: (index) => `${path}, ${placeOf(table.at(index), layout)}`,
      close: () => closeSync(descriptor),
    };
  } catch (error) {
    closeSync(descriptor);
    throw error;
  }
}

/** A sample of a file that goes by once: its JSON, or what is wrong with it. */
export interface PassingSample {
  readonly range: SampleRange;
  /** `line 3`, for messages. */
  readonly where: string;
  readonly json: unknown;
  readonly error: OpabiniaError | undefined;
}

/** All samples of a file, one after the other; nothing is kept. Throws as `openLlavaFile`. */
export function* passingSamples(path: string): Generator<PassingSample> {
  const descriptor = openSamples(path);
  try {
    const layout = neededLayout(descriptor, path);
    for (const range of sampleRanges(descriptor, layout, path)) {
      const where = placeOf(range, layout);
      try {
        yield { range, where, json: readRange(descriptor, range, layout, path), error: undefined };
      } catch (error) {
        if (!(error instanceof OpabiniaError)) throw error;
        yield { range, where, json: undefined, error };
      }
    }
  } finally {
    closeSync(descriptor);
  }
}

/** How many samples a file has, without reading them. Throws as `openLlavaFile`. */
export function countSamples(path: string): number {
  const descriptor = openSamples(path);
  try {
    let count = 0;
    for (const _ of sampleRanges(descriptor, neededLayout(descriptor, path), path)) count++;
    return count;
  } finally {
    closeSync(descriptor);
  }
}

/** A descriptor, to be closed by the caller. Throws `OpabiniaError`. */
export function openSamples(path: string): number {
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

/** How samples stand in it. Throws `OpabiniaError` for an empty file. */
export function neededLayout(descriptor: number, path: string): SampleLayout {
  const layout = layoutOf(descriptor);
  if (layout !== undefined) return layout;
  throw emptyFile(path);
}

function emptyFile(path: string): OpabiniaError {
  return new OpabiniaError(`${path} is empty`, { op: 'data', advice: 'give a file with at least one sample' });
}

function placeOf({ number }: SampleRange, layout: SampleLayout): string {
  return `${layout} ${number}`;
}

/** The JSON of a sample. Throws `OpabiniaError` where it does not parse. */
export function readRange(descriptor: number, range: SampleRange, layout: SampleLayout, path: string): unknown {
  const { start, end } = range;
  const wrong = (what: string, advice: string, cause?: unknown): OpabiniaError =>
    new OpabiniaError(`${path}, ${placeOf(range, layout)}, ${what}`, { op: 'data', advice, cause });
  if (end - start > sampleLimit) throw wrong(`has ${end - start} bytes`, 'a sample has a few kilobytes');
  const buffer = Buffer.alloc(end - start);
  for (let done = 0; done < buffer.length;) {
    const count = readSync(descriptor, buffer, done, buffer.length - done, start + done);
    if (count === 0) throw wrong('ends early', 'the file has changed while it was read');
    done += count;
  }
  let text: string;
  try {
    text = utf8.decode(buffer);
  } catch (cause) {
    throw wrong('is not UTF-8', 'write the file anew in UTF-8: its letters would be learned as �', cause);
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw wrong(
      `does not parse: ${cause instanceof Error ? cause.message : String(cause)}`,
      layout === 'line' ? 'each line is one JSON object, or the file is one array' : 'each element is a JSON object',
      cause,
    );
  }
}

/** Where each sample lies: 16 bytes a sample, however many there are. */
class RangeTable {
  #starts = new Float64Array(1024);
  #bytes = new Uint32Array(1024);
  #numbers = new Uint32Array(1024);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add({ start, end, number }: SampleRange): void {
    if (this.#count === this.#starts.length) this.#grow();
    this.#starts[this.#count] = start;
    // What is too long is refused when it is asked for.
    this.#bytes[this.#count] = Math.min(end - start, 2 ** 32 - 1);
    this.#numbers[this.#count] = number;
    this.#count++;
  }

  at(index: number): SampleRange {
    if (!(index >= 0 && index < this.#count)) throw new RangeError(`sample ${index} of ${this.#count}`);
    const start = this.#starts[index] ?? 0;
    return { start, end: start + (this.#bytes[index] ?? 0), number: this.#numbers[index] ?? 0 };
  }

  #grow(): void {
    const starts = new Float64Array(2 * this.#count);
    const bytes = new Uint32Array(2 * this.#count);
    const numbers = new Uint32Array(2 * this.#count);
    starts.set(this.#starts);
    bytes.set(this.#bytes);
    numbers.set(this.#numbers);
    [this.#starts, this.#bytes, this.#numbers] = [starts, bytes, numbers];
  }
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
    const named = field === '' ? '' : `, field '${field.replace(/^\./, '')}'`;
    throw new OpabiniaError(`${path}, ${where}${named}: ${issue?.message ?? 'is wrong'}`, {
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
