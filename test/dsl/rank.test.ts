// Order along an axis, positions as rows, and sums by position, against plain loops.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  arange,
  argsort,
  cumsum,
  full,
  fullLike,
  oneHot,
  scatterAdd,
  sort,
  topK,
  type Tensor,
} from '../../dsl/index.ts';
import { numbers, run } from './run.ts';

const element = fc.constantFrom(0, -0, 1, -1, 2.5, NaN, Infinity, -Infinity, 7, 1e-30);
const rows = fc.array(element, { minLength: 1, maxLength: 40 });

/** Positions in rising order, by insertion: NaN last, equals as they were. */
function inserted(row: readonly number[], isFalling: boolean): readonly number[] {
  const order: number[] = [];
  const isBefore = (a: number, b: number): boolean => {
    if (isFalling) return Number.isNaN(a) ? !Number.isNaN(b) : a > b;
    return Number.isNaN(b) ? !Number.isNaN(a) : a < b;
  };
  for (const [i, value] of row.entries()) {
    let at = order.length;
    while (at > 0 && isBefore(value, row[order[at - 1] ?? 0] ?? NaN)) at--;
    order.splice(at, 0, i);
  }
  return order;
}

describe('sort', () => {
  test('is stable, and NaN is the largest', () => {
    fc.assert(
      fc.property(rows, fc.boolean(), (row, descending) => {
        const setting = { inputs: { x: row } };
        const expected = inserted(row, descending);
        expect(run((t) => argsort(t.input('x', 'n', { n: row.length }), 'n', { descending }), setting).data).toEqual(
          expected,
        );
        const values = run((t) => sort(t.input('x', 'n', { n: row.length }), 'n', { descending }).values, setting);
        expect(values.data).toEqual(expected.map((i) => row[i]));
        expect(values.axes).toBe('n');
      }),
      { numRuns: 60 },
    );
  });

  test('goes along any axis, which keeps its place', () => {
    const y = run((t) => sort(t.input('x', 'n c', { n: 3, c: 2 }), 'n').indices, { inputs: { x: [3, 1, 2, 2, 1, 3] } });
    expect([y.axes, y.data]).toEqual(['n c', [2, 0, 1, 1, 0, 2]]);
  });

  test('topK of a symbolic axis that may be shorter than k is refused', () => {
    expect(() => run((t) => topK(t.input('x', 'n', { n: t.symbol('n', { upTo: 8 }) }), 'n', 3).indices)).toThrow(
      /may be as short as 1, and 3 elements are asked for[^]*atLeast: 3/,
    );
    const y = run((t) => topK(t.input('x', 'n', { n: t.symbol('n', { atLeast: 3, upTo: 8 }) }), 'n', 3).indices, {
      inputs: { x: [1, 5, 2, 9] },
      symbols: { n: 4 },
    });
    expect(y.data).toEqual([3, 1, 2]);
  });
});

test('oneHot: a one at the position, nothing outside the classes', () => {
  const y = run((t) => oneHot(t.input('i', 'n', { n: 4 }, 'i32'), 'v', 3), { inputs: { i: [2, 0, -1, 3] } });
  expect([y.axes, y.dtype, y.data]).toEqual(['n v', 'f32', [0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]]);
});

describe('cumsum', () => {
  test.each([1, 2, 64, 128, 129, 300, 4200])('of %d elements', (n) => {
    const x = numbers(n);
    let sum = 0;
    const expected = x.map((value) => (sum += value));
    const y = run((t) => cumsum(t.input('x', 'n', { n }), 'n'), { inputs: { x } });
    y.data.forEach((value, i) => expect(Math.abs(value - (expected[i] ?? NaN))).toBeLessThan(1e-9));
    const whole = run((t) => cumsum(t.input('x', 'n', { n: t.symbol('n', { upTo: 5000 }) }, 'i32'), 'n'), {
      inputs: { x: x.map((_, i) => i) },
      symbols: { n },
    });
    expect(whole.data).toEqual(x.map((_, i) => (i * (i + 1)) / 2));
  });

  test('an infinity reaches only what comes after it', () => {
    const x = Array.from({ length: 200 }, (_, i) => (i === 100 ? Infinity : 1));
    const y = run((t) => cumsum(t.input('x', 'n', { n: 200 }), 'n'), { inputs: { x } });
    expect(y.data).toEqual(x.map((_, i) => (i < 100 ? i + 1 : Infinity)));
  });
});

test('scatterAdd: sums by position, clamped; what no position names is 0', () => {
  const y = run(
    (t) => scatterAdd(t.input('x', 'n c', { n: 4, c: 2 }), t.input('i', 'n', { n: 4 }, 'i32'), 'v c', { v: 4 }),
    {
      inputs: { x: [1, 2, 3, 4, 5, 6, 7, 8], i: [1, -5, 1, 9] },
    },
  );
  expect([y.axes, y.data]).toEqual(['v c', [3, 4, 6, 8, 0, 0, 7, 8]]);
  // As from JavaScript, without the checks of types.
  const untyped = (axes: string, sizes: Readonly<Record<string, number>>) => () =>
    run((t) => {
      const updates: Tensor<string, 'f32'> = t.input('x', 'n', { n: 4 });
      return scatterAdd<string, 'f32', string, string>(updates, t.input('i', 'n', { n: 4 }, 'i32'), axes, sizes);
    });
  expect(untyped('n', {})).toThrow(/has no axis that is not of the updates/);
  expect(untyped('v', {})).toThrow(/axis 'v' has no size/);
});

test('fills and positions need no trace', () => {
  const x = { inputs: { x: [1, 2] } };
  expect(run((t) => full(t.input('x', 'n', { n: 2 }), 0.5, 'q c', { q: 2, c: 1 }).mul(2), x).data).toEqual([1, 1]);
  expect(
    run((t) => fullLike(t.input('x', 'n', { n: 2 }), 3).add(t.input('y', 'n', { n: 2 })), {
      inputs: { x: [1, 2], y: [1, 2] },
    }).data,
  ).toEqual([4, 5]);
  expect(run((t) => arange(t.input('x', 'n', { n: 2 }), 'k', 3), x).data).toEqual([0, 1, 2]);
});
