// Sources balanced by a cap and by shares of categories (Cambrian-1, §5.2): a table of before and after, and an index of what is taken.
import { fstatSync, closeSync } from 'node:fs';
import { OpabiniaError } from '../../dsl/error.ts';
import { formatTable } from '../../dsl/text/table.ts';
import { sampleRanges } from '../train/data/sample-ranges.ts';
import { countSamples, neededLayout, openSamples, passingSamples } from '../train/data/llava-file.ts';
import { checkMixture, chosenSamples, takenCounts } from '../train/data/mixture.ts';
import { writeIndex, type IndexedSource } from '../train/data/mixture-index.ts';
import type { Mix, MixSource } from './read-mix.ts';
import { sum } from '../statistics/sum.ts';
import { requireFields, requireOptions } from '../../dsl/graph/required.ts';

export interface BalanceOptions {
  /** Samples of each source at most, instead of the mixture's. */
  readonly cap?: number | undefined;
  /** Of each category, instead of the mixture's. */
  readonly shares?: Readonly<Record<string, number>> | undefined;
  readonly total?: number | undefined;
  /** Draws which samples a source gives; default 0, as a recipe's. */
  readonly seed?: number | undefined;
  /** Of the index; without it only the table is made. */
  readonly out?: string | undefined;
}

export interface BalancedSource {
  readonly name: string;
  readonly category: string;
  readonly before: number;
  readonly after: number;
}

export interface Balanced {
  readonly sources: readonly BalancedSource[];
  /** The index that was written. */
  readonly out: string | undefined;
}

/** Values of a field that are sources of their own, at most. */
const valueLimit = 10_000;

/** A source as it is counted: a file, a value of a field in a file, or a number. */
interface Part {
  readonly from: MixSource;
  readonly value: string | undefined;
  readonly name: string;
  readonly count: number;
}

/**
 * Which samples a source gives depends on `seed` and its place alone, and is what `openMixture` takes: a recipe may have the mixture or its
 * index. Files go by twice and are not held. Throws `OpabiniaError` before anything is written: for what `openMixture` refuses, for an index of
 * sources that are counts, and for a field that samples do not have.
 * @example balance(readMix('mix.json'), { cap: 350_000, out: 'balanced.safetensors' })
 */
export function balance(mix: Mix, options: BalanceOptions = {}): Balanced {
  requireFields('balance', mix, { sources: 'object' }, "balance(readMix('mix.json'))", 'the mixture');
  requireOptions('balance', options, '{ cap: 350_000 }');
  const { seed = 0, out } = options;
  checkMixture({ mixture: mix.sources, cap: options.cap ?? mix.cap });
  const paper = mix.sources.find(({ file }) => file === undefined);
  if (out !== undefined && paper !== undefined)
    throw new OpabiniaError(`'${paper.name}' is a count without a file, and an index is of samples`, {
      op: 'data',
      advice: 'leave --out away, or give the file',
    });
  const parts = mix.sources.flatMap(partsOf);
  const counted = parts.map(({ from, name, count }) => ({
    file: name,
    category: from.category,
    cap: from.cap,
    count,
  }));
  const takes = takenCounts(counted, {
    cap: options.cap ?? mix.cap,
    shares: options.shares ?? mix.shares,
    total: options.total ?? mix.total,
  });
  if (out !== undefined) indexOf(parts, takes, seed, { out, mix: mix.path });
  return {
    out,
    sources: parts.map(({ from, name, count }, i) => ({
      name,
      category: from.category ?? name,
      before: count,
      after: takes[i] ?? 0,
    })),
  };
}

function partsOf(from: MixSource): readonly Part[] {
  const { name, file, count, by } = from;
  if (file === undefined) return [{ from, value: undefined, name, count: count ?? 0 }];
  if (by === undefined) return [{ from, value: undefined, name, count: countSamples(file) }];
  const counts = new Map<string, number>();
  for (const { json, where, error } of passingSamples(file)) {
    if (error !== undefined) throw error;
    const value = valueOf(json, by, file, where);
    counts.set(value, (counts.get(value) ?? 0) + 1);
    if (counts.size > valueLimit)
      throw new OpabiniaError(`${file} has more than ${valueLimit} values of '${by}'`, {
        op: 'data',
        advice: 'name a field that says the source, not one of each sample',
      });
  }
  return [...counts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([value, own]) => ({ from, value, name: value, count: own }));
}

/** What the field `by` of a sample says. Throws `OpabiniaError` where it has none. */
export function valueOf(json: unknown, by: string, path: string, where: string): string {
  const value: unknown =
    typeof json === 'object' && json !== null ? Object.entries(json).find(([key]) => key === by)?.[1] : undefined;
  if (typeof value === 'string' && value !== '') return value;
  throw new OpabiniaError(`${path}, ${where}, has no field '${by}' that names its source`, {
    op: 'data',
    advice: 'name a field of text that every sample has',
  });
}

function indexOf(
  parts: readonly Part[],
  takes: readonly number[],
  seed: number,
  { out, mix }: { readonly out: string; readonly mix: string },
): void {
  const total = takes.reduce((sum, take) => sum + take, 0);
  if (total === 0)
    throw new OpabiniaError('the mixture takes no sample', { op: 'data', advice: 'raise the caps or the total' });
  const ranges = {
    starts: new Float64Array(total),
    bytes: new Uint32Array(total),
    numbers: new Uint32Array(total),
  };
  const sources: IndexedSource[] = [];
  let first = 0;
  /** Parts of one file, which goes by once for all of them. */
  const files = Map.groupBy(
    parts.map((part, place) => {
      const take = takes[place] ?? 0;
      const own = { ...part, take, chosen: chosenSamples(part.count, take, seed, place), first, seen: 0, found: 0 };
      first += take;
      return own;
    }),
    ({ from }) => from,
  );
  for (const [{ file = '', by, images, category, format }, own] of files) {
    const byValue = new Map(own.map((part) => [part.value, part]));
    const { size, layout, ranges: passing } = passingRanges(file, by);
    for (const { value, start, end, number } of passing) {
      const part = byValue.get(value);
      if (part === undefined) throw changed(file);
      if (part.chosen[part.found] === part.seen++) {
        const at = part.first + part.found++;
        ranges.starts[at] = start;
        ranges.bytes[at] = end - start;
        ranges.numbers[at] = number;
      }
    }
    for (const { name, take, found, seen, count } of own) {
      if (found !== take || seen !== count) throw changed(file);
      sources.push({ name, file, images, category, format, layout, size, taken: take });
    }
  }
  writeIndex(out, sources, ranges, { seed, inputs: [mix] });
}

function changed(file: string): OpabiniaError {
  return new OpabiniaError(`${file} has changed while it was read`, { op: 'data', advice: 'try again' });
}

interface Passing {
  readonly size: number;
  readonly layout: IndexedSource['layout'];
  readonly ranges: Iterable<{
    readonly value: string | undefined;
    readonly start: number;
    readonly end: number;
    readonly number: number;
  }>;
}

function passingRanges(file: string, by: string | undefined): Passing {
  const descriptor = openSamples(file);
  const [size, layout] = [fstatSync(descriptor).size, neededLayout(descriptor, file)];
  if (by !== undefined) {
    closeSync(descriptor);
    return { size, layout, ranges: valued(file, by) };
  }
  return { size, layout, ranges: plain(descriptor, layout, file) };
}

function* plain(descriptor: number, layout: Passing['layout'], file: string) {
  try {
    for (const range of sampleRanges(descriptor, layout, file)) yield { ...range, value: undefined };
  } finally {
    closeSync(descriptor);
  }
}

function* valued(file: string, by: string) {
  for (const { range, json, where, error } of passingSamples(file)) {
    if (error !== undefined) throw error;
    yield { ...range, value: valueOf(json, by, file, where) };
  }
}

/** Samples before and after, with the share of each source; of categories too where there are fewer. */
export function printBalanced({ sources, out }: Balanced): string {
  const categories = [...Map.groupBy(sources, ({ category }) => category)].map(([category, own]) => ({
    name: category,
    category,
    before: sum(own.map(({ before }) => before)),
    after: sum(own.map(({ after }) => after)),
  }));
  const tables = [tableOf('source', sources, categories.length < sources.length)];
  if (categories.length < sources.length) tables.push(tableOf('category', categories, false));
  if (out !== undefined) tables.push(`written: ${out}; in a recipe: data: { index: ${JSON.stringify(out)} }`);
  return tables.join('\n\n');
}

function tableOf(title: string, rows: readonly BalancedSource[], withCategory: boolean): string {
  const [before, after] = [sum(rows.map((row) => row.before)), sum(rows.map((row) => row.after))];
  const share = (part: number, whole: number): string => (whole === 0 ? '–' : `${((100 * part) / whole).toFixed(2)} %`);
  const line = (row: BalancedSource) => [
    row.name,
    ...(withCategory ? [row.category] : []),
    row.before.toLocaleString('en'),
    share(row.before, before),
    row.after.toLocaleString('en'),
    share(row.after, after),
  ];
  return formatTable(
    [
      { title },
      ...(withCategory ? [{ title: 'category' }] : []),
      { title: 'before', align: 'right' },
      { title: 'share', align: 'right' },
      { title: 'after', align: 'right' },
      { title: 'share', align: 'right' },
    ],
    [...rows.map(line), line({ name: 'all', category: '', before, after })],
  );
}
