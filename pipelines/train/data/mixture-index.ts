// What a balanced mixture takes, written down: of each sample where it lies in its file. Samples are not copied, and files are not searched again.
import { closeSync, fstatSync } from 'node:fs';
import { dirname, isAbsolute, relative, resolve } from 'node:path';
import { z } from 'zod';
import { OpabiniaError } from '../../../dsl/error.ts';
import { openSafetensors } from '../../../runtime/checkpoint/safetensors.ts';
import { writeSafetensors } from '../../../runtime/checkpoint/safetensors-write.ts';
import { openSamples, readRange, readSample, type LlavaFile } from './llava-file.ts';
import { placed, placeIn } from './mixture.ts';
import { plural } from '../../../dsl/text/plural.ts';

/** A source as an index has it. */
const sourceSchema = z.object({
  /** In tables. */
  name: z.string(),
  file: z.string(),
  images: z.string(),
  category: z.string().optional(),
  format: z.string().optional(),
  layout: z.enum(['line', 'element']),
  /** Bytes of the file: another size is another file. */
  size: z.int().min(1),
  /** Samples that are taken of it. */
  taken: z.int().min(0),
});
export type IndexedSource = z.infer<typeof sourceSchema>;

const kind = 'opabinia-mixture-index';

/** Of all samples, source after source. */
export interface IndexRanges {
  readonly starts: Float64Array;
  readonly bytes: Uint32Array;
  readonly numbers: Uint32Array;
}

/**
 * A safetensors file: `starts`, `bytes` and `numbers` (lines) of the samples, the sources as JSON among the metadata with paths relative to the index.
 * Throws `OpabiniaError`; it replaces none of its sources, and none of `inputs`.
 */
export function writeIndex(
  path: string,
  sources: readonly IndexedSource[],
  ranges: IndexRanges,
  { seed, inputs = [] }: { readonly seed: number; readonly inputs?: readonly string[] },
): void {
  const base = dirname(resolve(path));
  const from = (place: string): string => relative(base, resolve(place)) || '.';
  const { starts, bytes, numbers } = ranges;
  writeSafetensors(
    path,
    [
      { name: 'starts', dtype: 'F64', shape: [starts.length], values: starts },
      { name: 'bytes', dtype: 'U32', shape: [bytes.length], values: bytes },
      { name: 'numbers', dtype: 'U32', shape: [numbers.length], values: numbers },
    ],
    {
      kind,
      seed: String(seed),
      sources: JSON.stringify(
        sources.map((source) => ({ ...source, file: from(source.file), images: from(source.images) })),
      ),
    },
    { op: 'data', inputs: [...inputs, ...sources.map(({ file }) => file)] },
  );
}

/** The samples of an index, with the sources that they are from. */
export interface IndexFile extends LlavaFile {
  readonly sources: readonly IndexedSource[];
}

/** Throws `OpabiniaError` for a file that is not an index, and for sources that are missing or have another size than they had. */
export function openIndex(path: string): IndexFile {
  const { sources, ranges } = readIndex(path);
  const takes = sources.map(({ taken }) => taken);
  const descriptors = new Map<string, number>();
  const close = (): void => {
    for (const descriptor of descriptors.values()) closeSync(descriptor);
    descriptors.clear();
  };
  try {
    for (const { file, size } of sources) {
      if (descriptors.has(file)) continue;
      const descriptor = openSamples(file);
      descriptors.set(file, descriptor);
      const now = fstatSync(descriptor).size;
      if (now !== size) throw changed(file, `has ${now} bytes, and had ${size}`);
    }
  } catch (error) {
    close();
    throw error;
  }
  const find = (i: number) => {
    const source = sources[placeIn(takes, i)[0]];
    const descriptor = descriptors.get(source?.file ?? '');
    if (source === undefined || descriptor === undefined)
      throw new RangeError(`sample ${i} of ${ranges.starts.length}`);
    const start = ranges.starts[i] ?? 0;
    return {
      source,
      descriptor,
      range: { start, end: start + (ranges.bytes[i] ?? 0), number: ranges.numbers[i] ?? 0 },
    };
  };
  return {
    path,
    count: ranges.starts.length,
    sources,
    sample: (i) => {
      const { source, descriptor, range } = find(i);
      const { file, layout } = source;
      return placed(readSample(readRange(descriptor, range, layout, file), file, `${layout} ${range.number}`), source);
    },
    where: (i) => {
      const { source, range } = find(i);
      return `${source.file}, ${source.layout} ${range.number}`;
    },
    close,
  };
}

function readIndex(path: string): { readonly sources: readonly IndexedSource[]; readonly ranges: IndexRanges } {
  const wrong = (what: string): OpabiniaError =>
    new OpabiniaError(`${path} ${what}`, { op: 'data', advice: 'make it by `opabinia data balance MIX --out FILE`' });
  const file = openSafetensors(path);
  try {
    if (file.metadata.get('kind') !== kind) throw wrong('is not an index of a mixture');
    const found = z
      .array(sourceSchema)
      .min(1)
      .safeParse(parsed(file.metadata.get('sources') ?? ''));
    if (!found.success) throw wrong(`does not say its sources: ${found.error.issues[0]?.message ?? ''}`);
    const base = dirname(resolve(path));
    const place = (of: string): string => (isAbsolute(of) ? of : resolve(base, of));
    const sources = found.data.map((source) => ({
      ...source,
      file: place(source.file),
      images: place(source.images),
    }));
    const count = sources.reduce((sum, { taken }) => sum + taken, 0);
    const into = <T extends Float64Array | Uint32Array>(name: string, dtype: string, values: T): T => {
      const tensor = file.tensors.get(name);
      if (tensor?.dtype !== dtype || tensor.shape.join() !== String(count))
        throw wrong(`has no ${name} of its ${plural(count, 'sample')}`);
      file.readInto(name, new Uint8Array(values.buffer));
      return values;
    };
    const ranges = {
      starts: into('starts', 'F64', new Float64Array(count)),
      bytes: into('bytes', 'U32', new Uint32Array(count)),
      numbers: into('numbers', 'U32', new Uint32Array(count)),
    };
    if (!ranges.starts.every((start) => Number.isSafeInteger(start) && start >= 0))
      throw wrong('has samples that begin nowhere');
    return { sources, ranges };
  } finally {
    file.close();
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function changed(file: string, what: string): OpabiniaError {
  return new OpabiniaError(`${file} ${what} when the index was written`, {
    op: 'data',
    advice: 'write the index again: opabinia data balance MIX --out FILE',
  });
}
