// Several files of samples as one data set, balanced as Cambrian-7M is: a cap on each source, shares of categories, and the sentence that says
// how to answer (Cambrian-1, §5.2 and §5.3, appendix on the answer machine).
import { join } from 'node:path';
import { OpabiniaError } from '../../../dsl/error.ts';
import type { LlavaFile, LlavaSample } from './llava-file.ts';
import { openLlavaFile } from './llava-file.ts';
import { sampleOrder } from './sample-order.ts';

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

/** Sentences of the released data, by what the answer is. */
export const responseFormats = {
  phrase: 'Answer the question using a single word or phrase.',
  number: 'Answer the question using a single number or phrase.',
  option: "Answer with the option's letter from the given choices directly.",
  short: 'Give the short answer directly.',
  letter: 'Answer with the letter.',
  unanswerable:
    "When the provided information is insufficient, respond with 'Unanswerable'. Answer the question using a single word or phrase.",
  noAnswer: 'When the provided information is insufficient, respond with <no answer>.',
  html: 'Directly provide the HTML code.',
  reasoning: 'First show your reasoning process and then give the final answer.',
} as const;

/**
 * The samples that a mixture takes, source by source; pictures have the paths of their folders. Which ones a source gives depends on `seed` and its
 * place alone. Throws `OpabiniaError` for a mixture of nothing, for a cap or a share that is not positive, for shares of unknown categories or
 * without one, and for a total that a category cannot fill.
 */
export function openMixture(mixture: Mixture, seed: number): LlavaFile {
  const { mixture: sources } = mixture;
  if (sources.length === 0) throw wrong('a mixture of no files', 'name at least one in `mixture`');
  for (const cap of [mixture.cap, ...sources.map((source) => source.cap)])
    if (cap !== undefined && !(Number.isInteger(cap) && cap > 0))
      throw wrong(`a cap of ${cap}`, 'a cap is a number of samples, at least 1');
  const files: LlavaFile[] = [];
  const close = () => {
    for (const file of files) file.close();
  };
  try {
    for (const source of sources) files.push(openLlavaFile(source.file));
    const counts = countsOf(mixture, files);
    const taken = files.flatMap((file, place) =>
      sampleOrder({ count: file.count, seed: seed + place, epoch: 0 })
        .slice(0, counts[place])
        .toSorted((a, b) => a - b)
        .map((index) => ({ place, index })),
    );
    return {
      path: sources.map(({ file }) => file).join(' + '),
      count: taken.length,
      sample: (i) => {
        const { place, index } = taken[i] ?? { place: -1, index: -1 };
        const [source, file] = [sources[place], files[place]];
        if (source === undefined || file === undefined) throw new RangeError(`sample ${i} of ${taken.length}`);
        return placed(file.sample(index), source);
      },
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

/** Samples that each source gives. */
function countsOf({ mixture, cap, shares, total }: Mixture, files: readonly LlavaFile[]): readonly number[] {
  const capped = mixture.map((source, i) => Math.min(files[i]?.count ?? 0, source.cap ?? cap ?? Infinity));
  const categoryOf = (i: number): string => mixture[i]?.category ?? mixture[i]?.file ?? '';
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
      `${wanted} samples want more of category '${scarce?.[0] ?? ''}' than the ${available.get(scarce?.[0] ?? '') ?? 0} it has`,
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

function placed(sample: LlavaSample, { images, format }: MixtureSource): LlavaSample {
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
