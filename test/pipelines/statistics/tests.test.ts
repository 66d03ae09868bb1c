// Wilson's interval, McNemar's test, correlations and partitions, against values that were computed elsewhere.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { adjustedRand, correlations, groupTest } from '../../../pipelines/statistics/correlation.ts';
import { mcNemar } from '../../../pipelines/statistics/mcnemar.ts';
import { wilson } from '../../../pipelines/statistics/wilson.ts';

describe('wilson', () => {
  // statsmodels' proportion_confint(count, nobs, method='wilson').
  test.each([
    [0, 10, 0, 0.2775327998628892],
    [5, 10, 0.236593090512564, 0.763406909487436],
    [81, 263, 0.2552541, 0.3662148],
    [10, 10, 0.7224672001371107, 1],
  ])('%i of %i', (right, count, low, high) => {
    const found = wilson(right, count);
    expect(found.low).toBeCloseTo(low, 4);
    expect(found.high).toBeCloseTo(high, 4);
  });

  test('holds the share, inside of 0 and 1, narrower for more', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 500 }), fc.double({ min: 0, max: 1, noNaN: true }), (count, share) => {
        const [few, many] = [wilson(share * count, count), wilson(share * 4 * count, 4 * count)];
        expect(few.low).toBeLessThanOrEqual(share + 1e-12);
        expect(few.high).toBeGreaterThanOrEqual(share - 1e-12);
        expect(few.low).toBeGreaterThanOrEqual(0);
        expect(few.high).toBeLessThanOrEqual(1);
        expect(many.high - many.low).toBeLessThan(few.high - few.low);
      }),
    );
    expect(wilson(0, 0)).toEqual({ low: 0, high: 1 });
  });
});

describe('mcNemar', () => {
  /** Twice the tail of a fair coin, by whole numbers. */
  const exact = (a: number, b: number): number => {
    const n = BigInt(a + b);
    let [choose, sum] = [1n, 0n];
    for (let k = 0n; k <= BigInt(Math.min(a, b)); k++) {
      sum += choose;
      choose = (choose * (n - k)) / (k + 1n);
    }
    return Math.min(1, Number((2n * sum * 10n ** 18n) / 2n ** n) / 1e18);
  };

  test('is the exact test', () => {
    fc.assert(
      fc.property(fc.nat(60), fc.nat(60), (a, b) => {
        expect(mcNemar(a, b).p).toBeCloseTo(exact(a, b), 10);
      }),
    );
    expect(mcNemar(0, 0).p).toBe(1);
    expect(mcNemar(1, 9).p).toBeCloseTo(22 / 1024, 12);
  });

  test('of thousands, where 2⁻ⁿ is not a double', () => {
    expect(mcNemar(2000, 2000).p).toBe(1);
    expect(mcNemar(2000, 2400).p).toBeLessThan(1e-8);
    expect(mcNemar(2000, 2400).p).toBeGreaterThan(1e-10);
  });
});

describe('correlation', () => {
  test('of columns', () => {
    const rows = [1, 2, 3, 4].map((x) => [x, 2 * x + 1, -x, x % 2, 5]);
    const found = correlations(rows);
    expect(found[0]?.[1]).toBeCloseTo(1, 12);
    expect(found[0]?.[2]).toBeCloseTo(-1, 12);
    expect(found[0]?.[3]).toBeCloseTo(-1 / Math.sqrt(5), 12);
    // A column that never changes goes with none.
    expect(found[0]?.[4]).toBe(0);
  });

  test('of groups that are there and of groups that are not', () => {
    const matrix = Array.from({ length: 12 }, (_, a) =>
      Array.from({ length: 12 }, (__, b) => (a === b ? 1 : Math.floor(a / 4) === Math.floor(b / 4) ? 0.8 : 0.1)),
    );
    const groups = matrix.map((_, i) => `g${Math.floor(i / 4)}`);
    const { within, between, p } = groupTest(matrix, groups);
    expect([within, between]).toEqual([expect.closeTo(0.8, 12), expect.closeTo(0.1, 12)]);
    expect(p).toBeLessThan(0.01);
    expect(
      groupTest(
        matrix,
        matrix.map((_, i) => `g${i % 3}`),
      ).p,
    ).toBeGreaterThan(0.3);
  });

  test('of partitions', () => {
    expect(adjustedRand(['a', 'a', 'b', 'b'], ['x', 'x', 'y', 'y'])).toBe(1);
    // Hubert and Arabie's index for two splits across each other.
    expect(adjustedRand(['a', 'a', 'b', 'b'], ['x', 'y', 'x', 'y'])).toBeCloseTo(-0.5, 12);
    // scikit-learn: adjusted_rand_score([0, 0, 1, 1], [0, 0, 1, 2]).
    expect(adjustedRand(['0', '0', '1', '1'], ['0', '0', '1', '2'])).toBeCloseTo(0.5714285714285714, 12);
  });
});
