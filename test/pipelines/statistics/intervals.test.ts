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
