// Several files of samples as one data set, balanced as Cambrian-7M is: a cap on each source, shares of categories, and the sentence that says
// how to answer (Cambrian-1, §5.2 and §5.3, appendix on the answer machine).
import { join } from 'node:path';
import { z } from 'zod';
import { OpabiniaError } from '../../../dsl/error.ts';
import { knownFields } from './known-fields.ts';
import type { LlavaFile, LlavaSample } from './llava-file.ts';
import { openLlavaFile } from './llava-file.ts';
import { permuted } from './sample-order.ts';
import { plural } from '../../../dsl/text/plural.ts';

/** A file of a mixture, with the folder of its pictures. */
export interface MixtureSource {
  readonly file: string;
  readonly images: string;
  /** What it counts to in `shares`; by default its file. */
  readonly category?: string | undefined;
  /** Samples that are taken of it at most, instead of the mixture's. */
  readonly cap?: number | undefined;
  /** A sentence behind each question, on a line of its own: short answers that nobody asked for teach a model to answer shortly always. */
  readonly format?: string | undefined;
}

export interface Mixture {
  readonly mixture: readonly MixtureSource[];
  /** Samples of each source at most, drawn by seed: t in the paper, which settles on 350,000. */
  readonly cap?: number | undefined;
  /** Of each category, in any unit: `{ General: 34.52, OCR: 27.22 }`. By default each has what its sources have. */
  readonly shares?: Readonly<Record<string, number>> | undefined;
  /** Samples in all; by default as many as the shares allow with none taken twice. */
  readonly total?: number | undefined;
}

const source = knownFields({
  file: z.string().min(1),
  images: z.string(),
  category: z.string().optional(),
  cap: z.number().optional(),
  format: z.string().optional(),
});

/** Of a mixture that comes from a file; whether caps and shares can be met is `takenCounts`' business. */
export const mixtureSchema = knownFields({
  mixture: z.array(source),
  cap: z.number().optional(),
  shares: z.record(z.string(), z.number()).optional(),
  total: z.number().optional(),
});

/**
 * The samples that a mixture takes, source by source; pictures have the paths of their folders. Which ones a source gives depends on `seed` and its
 * place alone. Throws `OpabiniaError` for a mixture of nothing, for a cap or a share that is not positive, for shares of unknown categories or
 * without one, and for a total that a category cannot fill.
 */
export function openMixture(mixture: Mixture, seed: number): LlavaFile {
  const { mixture: sources } = mixture;
  checkMixture(mixture);
  const files: LlavaFile[] = [];
  const close = () => {
    for (const file of files) file.close();
  };
  try {
    for (const source of sources) files.push(openLlavaFile(source.file));
    const takes = takenCounts(
      sources.map((source, i) => ({ ...source, count: files[i]?.count ?? 0 })),
      mixture,
    );
    const taken = files.map((file, place) => chosenSamples(file.count, takes[place] ?? 0, seed, place));
    const count = takes.reduce((sum, one) => sum + one, 0);
    const find = (i: number) => {
      const [place, at] = placeIn(takes, i);
      const [source, file] = [sources[place], files[place]];
      if (source === undefined || file === undefined) throw new RangeError(`sample ${i} of ${count}`);
      return { source, file, index: taken[place]?.[at] ?? 0 };
    };
    return {
      path: sources.map(({ file }) => file).join(' + '),
      count,
      sample: (i) => {
        const { source, file, index } = find(i);
        return placed(file.sample(index), source);
      },
      where: (i) => {
        const { file, index } = find(i);
        return file.where(index);
      },
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** Throws `OpabiniaError` for a mixture of nothing and for a cap that is not a number of samples. */
export function checkMixture({
  mixture,
  cap,
}: {
  readonly mixture: readonly Pick<MixtureSource, 'cap'>[];
  readonly cap?: number | undefined;
}): void {
  if (mixture.length === 0) throw wrong('a mixture of no files', 'name at least one in `mixture`');
  for (const each of [cap, ...mixture.map((source) => source.cap)])
    if (each !== undefined && !(Number.isInteger(each) && each > 0))
      throw wrong(`a cap of ${each}`, 'a cap is a number of samples, at least 1');
}

/** Which samples a source gives, in order: `take` of `count`, by seed and its place alone. */
export function chosenSamples(count: number, take: number, seed: number, place: number): Uint32Array {
  return permuted({ count, seed: seed + place, epoch: 0 })
    .slice(0, take)
    .sort();
}

/** The source that sample i of all is from, and its place among those that it gives. */
export function placeIn(takes: readonly number[], i: number): readonly [source: number, at: number] {
  let at = i;
  for (const [source, take] of takes.entries()) {
    if (at < take) return [source, at];
    at -= take;
  }
  return [-1, -1];
}

/** A source that is counted. */
export interface CountedSource extends Pick<MixtureSource, 'file' | 'category' | 'cap'> {
  readonly count: number;
}

/** Samples that each source gives. Throws `OpabiniaError` as `openMixture`. */
export function takenCounts(
  sources: readonly CountedSource[],
  { cap, shares, total }: Pick<Mixture, 'cap' | 'shares' | 'total'>,
): readonly number[] {
  const capped = sources.map((source) => Math.min(source.count, source.cap ?? cap ?? Infinity));
  const categoryOf = (i: number): string => sources[i]?.category ?? sources[i]?.file ?? '';
  const available = new Map<string, number>();
  capped.forEach((count, i) => available.set(categoryOf(i), (available.get(categoryOf(i)) ?? 0) + count));
  const parts = shares === undefined ? available : new Map(Object.entries(shares));
  for (const [category, part] of parts)
    if (!(part > 0 && Number.isFinite(part)))
      throw wrong(`category '${category}' has a share of ${part}`, 'shares are above 0; leave its files out');
  const unknown = [...parts.keys()].find((category) => !available.has(category));
  const unshared = [...available.keys()].find((category) => !parts.has(category));
  if (unknown !== undefined)
    throw wrong(`no file is of category '${unknown}'`, `the categories are ${[...available.keys()].join(', ')}`);
  if (unshared !== undefined) throw wrong(`category '${unshared}' has no share`, 'give it one, or leave its files out');
  const whole = [...parts.values()].reduce((sum, part) => sum + part, 0);
  const most = Math.floor(
    Math.min(...[...parts].map(([category, part]) => ((available.get(category) ?? 0) * whole) / part)) + 1e-9,
  );
  const wanted = total ?? most;
  if (wanted > most) {
    const [scarce] = [...parts].sort(([a, p], [b, q]) => (available.get(a) ?? 0) / p - (available.get(b) ?? 0) / q);
    throw wrong(
      `${plural(wanted, 'sample wants', 'samples want')} more of category '${scarce?.[0] ?? ''}' than the ${available.get(scarce?.[0] ?? '') ?? 0} it has`,
      `these shares and caps allow ${most} in all`,
    );
  }
  const ofCategory = apportioned([...parts.values()], wanted);
  const counts = capped.map(() => 0);
  [...parts.keys()].forEach((category, k) => {
    const members = capped.flatMap((_, i) => (categoryOf(i) === category ? [i] : []));
    const own = apportioned(
      members.map((i) => capped[i] ?? 0),
      ofCategory[k] ?? 0,
    );
    members.forEach((i, m) => (counts[i] = own[m] ?? 0));
  });
  return counts;
}

/** Whole numbers in these proportions that add up: the largest remainders are rounded up. */
function apportioned(parts: readonly number[], total: number): readonly number[] {
  const whole = parts.reduce((sum, part) => sum + part, 0);
  const exact = parts.map((part) => (whole === 0 ? 0 : (part * total) / whole));
  const counts = exact.map((value) => Math.floor(value + 1e-9));
  const left = total - counts.reduce((sum, count) => sum + count, 0);
  const order = exact
    .map((_, i) => i)
    .sort((a, b) => (exact[b] ?? 0) - (counts[b] ?? 0) - ((exact[a] ?? 0) - (counts[a] ?? 0)) || a - b);
  for (const i of order.slice(0, left)) counts[i] = (counts[i] ?? 0) + 1;
  return counts;
}

/** A sample with the whole path of its picture, and the sentence of its source behind each question. */
export function placed(sample: LlavaSample, { images, format }: Pick<MixtureSource, 'images' | 'format'>): LlavaSample {
  return {
    ...sample,
    image: sample.image === undefined ? undefined : join(images, sample.image),
    turns:
      format === undefined
        ? sample.turns
        : sample.turns.map((turn) => (turn.role === 'user' ? { ...turn, text: `${turn.text}\n${format}` } : turn)),
  };
}

function wrong(what: string, advice: string): OpabiniaError {
  return new OpabiniaError(what, { op: 'data', advice });
}
