// Intervals of the comparisons by training: what they must hold for any counts.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { accuracy, difference, verdict, type Counts } from '../../../pipelines/statistics/intervals.ts';

const counts = (n: number): fc.Arbitrary<Counts> =>
  fc
    .array(fc.tuple(fc.integer({ min: 1, max: 4 }), fc.double({ min: 0, max: 1, noNaN: true })), {
      minLength: n,
      maxLength: n,
    })
    .map((pictures) => ({
      asked: pictures.map(([asked]) => asked),
      right: pictures.map(([asked, share]) => Math.round(asked * share)),
    }));

test('an interval lies around the share of right answers, between 0 and 1', () => {
  fc.assert(
    fc.property(fc.array(counts(40), { minLength: 1, maxLength: 3 }), (seeds) => {
      const { mean, low, high } = accuracy(seeds);
      const [right, asked] = [seeds.flatMap((one) => one.right), seeds.flatMap((one) => one.asked)].map((all) =>
        all.reduce((sum, one) => sum + one, 0),
      );
      expect(mean).toBeCloseTo((right ?? NaN) / (asked ?? NaN), 12);
      expect(low).toBeGreaterThanOrEqual(0);
      expect(high).toBeLessThanOrEqual(1);
      expect(low).toBeLessThanOrEqual(mean + 1e-9);
      expect(high).toBeGreaterThanOrEqual(mean - 1e-9);
    }),
    { numRuns: 15 },
  );
});

test('the interval of 400 pictures with one question each is about that of a binomial share', () => {
  const right = Array.from({ length: 400 }, (_, i) => (i % 4 === 0 ? 0 : 1));
  const { low, high } = accuracy([{ right, asked: right.map(() => 1) }]);
  const half = 1.96 * Math.sqrt((0.75 * 0.25) / 400);
  expect((high - low) / 2).toBeGreaterThan(0.85 * half);
  expect((high - low) / 2).toBeLessThan(1.15 * half);
});

test('the interval of a difference over pictures of unlike sizes is about that of a ratio of sums', () => {
  // Six and one questions of a picture, right in whole pictures: as single questions they would be far closer together.
  const asked: readonly number[] = Array.from({ length: 500 }, (_, i) => (i % 3 === 0 ? 6 : 1));
  const first = asked.map((count, i) => ((i * 7) % 10 < 6 ? count : 0));
  const second = asked.map((count, i) => ((i * 3) % 11 < 4 ? count : 0));
  const { mean, low, high } = difference([{ right: first, asked }], [{ right: second, asked }]);
  const all = asked.reduce<number>((sum, count) => sum + count, 0);
  const ratio = first.reduce<number>((sum, right, i) => sum + right - (second[i] ?? 0), 0) / all;
  expect(mean).toBeCloseTo(ratio, 12);
  // Cochran, Sampling Techniques, 2.11: the variance of a ratio of two sums over the same clusters.
  const squares = asked.reduce<number>(
    (sum, count, i) => sum + ((first[i] ?? 0) - (second[i] ?? 0) - ratio * count) ** 2,
    0,
  );
  const half = (1.96 * Math.sqrt((squares * 500) / 499)) / all;
  // Of a thousand draws each end is off by 0.0845 deviations of 1.96: half the width by 3 %, the middle by 6 %; five times that.
  expect((high - low) / 2 / half).toBeGreaterThan(0.85);
  expect((high - low) / 2 / half).toBeLessThan(1.15);
  expect(Math.abs((high + low) / 2 - ratio) / half).toBeLessThan(0.15);
});

test('pairs take out what is hard for both: the interval of a difference is narrower than those of its parts', () => {
  const asked = Array.from({ length: 300 }, () => 1);
  const hard = asked.map((_, i) => (i % 2 === 0 ? 1 : 0));
  const better = hard.map((right, i) => (i % 30 === 1 ? 1 : right));
  const { mean, low, high } = difference([{ right: better, asked }], [{ right: hard, asked }]);
  expect(mean).toBeCloseTo(10 / 300, 12);
  const own = accuracy([{ right: hard, asked }]);
  expect(high - low).toBeLessThan(0.6 * (own.high - own.low));
  expect(verdict({ mean, low, high })).toMatch(/^better by \+0\.033/);
});

test('a variant against itself shows no difference, in words', () => {
  const one = { right: [1, 0, 1], asked: [1, 1, 1] };
  expect(verdict(difference([one], [one]))).toBe('no difference shown: +0.000 [+0.000, +0.000]');
});

test('variants that were judged on other questions are not compared', () => {
  expect(() => difference([{ right: [1], asked: [1] }], [{ right: [1], asked: [2] }])).toThrow('same questions');
});

test('few pictures have such questions: ends are numbers, and one picture says nothing about others', () => {
  const over = (count: number): Counts => {
    const asked = Array.from({ length: 24 }, (_, i) => (i < count ? 1 : 0));
    return { asked, right: asked.map((one, i) => (i === 0 ? one : 0)) };
  };
  expect(accuracy([over(1)])).toEqual({ mean: 1, low: 0, high: 1 });
  const none = { ...over(1), right: over(1).right.map(() => 0) };
  expect(difference([over(1)], [none])).toEqual({ mean: 1, low: -1, high: 1 });
  expect(accuracy([over(2)])).toEqual({ mean: 0.5, low: 0, high: 1 });
  expect(accuracy([over(0)])).toEqual({ mean: NaN, low: NaN, high: NaN });
});
