// Intervals of accuracies and of their differences: seeds and pictures are drawn again with replacement, since questions of one picture are not independent.
import { randomStream } from '../shapes/scene/random.ts';

export interface Interval {
  readonly mean: number;
  readonly low: number;
  readonly high: number;
}

/** Of one seed by picture: how many questions were right, and how many there were. */
export interface Counts {
  readonly right: readonly number[];
  readonly asked: readonly number[];
}

const draws = 1000;

/**
 * 95 % interval of the share of right answers, over seeds and pictures. Without a question all is NaN; one picture says nothing about
 * others, and its interval is from 0 to 1.
 */
export function accuracy(seeds: readonly Counts[]): Interval {
  return interval(seeds, [0, 1]);
}

/**
 * 95 % interval of the difference of two variants' accuracies: the same pictures and questions, seed by seed, so that what is hard for both
 * is not counted as spread; over one picture from −1 to 1. Throws `RangeError` where the two were not judged on the same.
 */
export function difference(a: readonly Counts[], b: readonly Counts[]): Interval {
  if (a.length !== b.length || a.some((one, s) => one.asked.join() !== b[s]?.asked.join()))
    throw new RangeError('a difference is of the same questions and as many seeds');
  return interval(
    a.map((one, s) => ({ right: one.right.map((right, i) => right - (b[s]?.right[i] ?? 0)), asked: one.asked })),
    [-1, 1],
  );
}

function shareOf(
  { right, asked }: Counts,
  pictures: ArrayLike<number> | undefined,
): readonly [sum: number, count: number] {
  let [sum, count] = [0, 0];
  const n = pictures?.length ?? right.length;
  for (let i = 0; i < n; i++) {
    const at = pictures === undefined ? i : (pictures[i] ?? 0);
    sum += right[at] ?? 0;
    count += asked[at] ?? 0;
  }
  return [sum, count];
}

const drawnBefore = new Map<number, readonly Uint32Array[]>();

/** The same lots for every interval over as many pictures. */
function drawnPictures(count: number): readonly Uint32Array[] {
  const before = drawnBefore.get(count);
  if (before !== undefined) return before;
  const random = randomStream('pictures', count);
  const drawn = Array.from({ length: draws }, () => Uint32Array.from({ length: count }, () => random.below(count)));
  drawnBefore.set(count, drawn);
  return drawn;
}

function interval(seeds: readonly Counts[], [least, most]: readonly [number, number]): Interval {
  const over = (parts: readonly (readonly [number, number])[]) =>
    parts.reduce((sum, [right]) => sum + right, 0) / parts.reduce((sum, [, asked]) => sum + asked, 0);
  const mean = over(seeds.map((counts) => shareOf(counts, undefined)));
  const pictures = new Set(seeds.flatMap(({ asked }) => asked.flatMap((count, i) => (count > 0 ? [i] : []))));
  if (pictures.size === 1) return { mean, low: least, high: most };
  const random = randomStream('bootstrap', seeds.length);
  const all = drawnPictures(seeds[0]?.right.length ?? 0);
  const values = Float64Array.from({ length: draws }, (_, draw) => {
    const drawn = all[draw];
    return over(
      seeds.map(() => {
        const counts = seeds[random.below(seeds.length)];
        return counts === undefined ? [0, 0] : shareOf(counts, drawn);
      }),
    );
  })
    // Where few pictures have such questions, a draw may have none of them, and no share.
    .filter((value) => !Number.isNaN(value))
    .sort();
  const count = values.length;
  return { mean, low: values[Math.floor(count * 0.025)] ?? mean, high: values[Math.ceil(count * 0.975) - 1] ?? mean };
}

/** What a difference shows, in words. */
export function verdict({ mean, low, high }: Interval): string {
  if (!Number.isFinite(mean)) return 'no such questions';
  const figures = `${signed(mean)} [${signed(low)}, ${signed(high)}]`;
  if (low > 0) return `better by ${figures}`;
  if (high < 0) return `worse by ${figures}`;
  return `no difference shown: ${figures}`;
}

function signed(value: number): string {
  return `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(3)}`;
}
