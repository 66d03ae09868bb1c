// Elementwise functions, selection and ranking against plain loops.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  abs,
  argmax,
  cos,
  erf,
  exp,
  floor,
  isNaN,
  log,
  neg,
  rsqrt,
  sigmoid,
  sin,
  sqrt,
  tanh,
  topK,
  where,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { at, distance, numbers, run, table } from './run.ts';

const values = [-2.5, -1, -0.5, 0.25, 1, 3];
const input = (t: Trace) => t.input('x', 'n', { n: values.length });
const of = (build: (x: Tensor<'n', 'f32'>, t: Trace) => Tensor) =>
  run((t) => build(input(t), t), { inputs: { x: values } }).data;

test.each([
  ['exp', exp, Math.exp],
  ['tanh', tanh, Math.tanh],
  ['sin', sin, Math.sin],
  ['cos', cos, Math.cos],
  ['floor', floor, Math.floor],
  ['abs', abs, Math.abs],
  ['neg', neg, (x: number) => -x],
  ['sigmoid', sigmoid, (x: number) => 1 / (1 + Math.exp(-x))],
  ['log', log, Math.log],
  ['sqrt', sqrt, Math.sqrt],
  ['rsqrt', rsqrt, (x: number) => 1 / Math.sqrt(x)],
] as const)('%s', (_name, f, expected) => {
  expect(
    distance(
      of((x) => f(x)),
      values.map(expected),
    ),
  ).toBeLessThan(1e-12);
});

test('erf, to the digits of Abramowitz and Stegun, table 7.1', () => {
  const y = run((t) => erf(t.input('x', 'n', { n: 4 })), { inputs: { x: [0.5, 1, 1.5, 2] } });
  expect(distance(y.data, [0.5204998778, 0.8427007929, 0.9661051465, 0.995322265])).toBeLessThan(1e-9);
});

describe('methods broadcast by name', () => {
  const [a, b] = [numbers(6), numbers(3, 5)];
  const m = at(a, [2, 3]);
  const both = (f: (x: Tensor<'b n', 'f32'>, y: Tensor<'n', 'f32'>) => Tensor) =>
    run((t) => f(t.input('a', 'b n', { b: 2, n: 3 }), t.input('b', 'n', { n: 3 })), { inputs: { a, b } }).data;
  test.each([
    ['add', (x: number, y: number) => x + y],
    ['sub', (x: number, y: number) => x - y],
    ['mul', (x: number, y: number) => x * y],
    ['div', (x: number, y: number) => x / y],
    ['min', Math.min],
    ['max', Math.max],
    ['mod', (x: number, y: number) => x % y],
    ['lt', (x: number, y: number) => Number(x < y)],
    ['ge', (x: number, y: number) => Number(x >= y)],
    ['eq', (x: number, y: number) => Number(x === y)],
    ['ne', (x: number, y: number) => Number(x !== y)],
  ] as const)('%s', (name, f) => {
    expect(
      distance(
        both((x, y) => x[name](y)),
        table([2, 3], (i = 0, n = 0) => f(m(i, n), b[n] ?? 0)),
      ),
    ).toBeLessThan(1e-12);
  });
  test('with numbers', () => {
    expect(of((x) => x.mul(2).add(1).pow(2))).toEqual(values.map((x) => (2 * x + 1) ** 2));
    expect(of((x) => x.gt(0).and(x.lt(1)).or(x.le(-2)).not())).toEqual(
      values.map((x) => Number(!((x > 0 && x < 1) || x <= -2))),
    );
    expect(of((x) => x.neg().div(2))).toEqual(values.map((x) => -x / 2));
  });
});

test('where keeps the order of axes of the tensor it keeps', () => {
  const y = run(
    (t) => {
      const x = t.input('x', 'a b', { a: 2, b: 3 });
      const mask = t.input('m', 'b a', { b: 3, a: 2 }).gt(0);
      return x.where(mask, -1);
    },
    { inputs: { x: [1, 2, 3, 4, 5, 6], m: [1, 0, 0, 1, 1, 1] } },
  );
  expect([y.axes, y.data]).toEqual(['a b', [1, -1, 3, -1, 5, 6]]);
  const chosen = run((t) => where(t.input('m', 'n', { n: 2 }).gt(0), 7, t.input('x', 'n', { n: 2 })), {
    inputs: { m: [1, 0], x: [1, 2] },
  });
  expect(chosen.data).toEqual([7, 2]);
});

test('cast cuts towards zero, and casting to the same dtype is nothing', () => {
  expect(
    distance(
      of((x) => x.cast('i32').cast('f32')),
      values.map(Math.trunc),
    ),
  ).toBe(0);
  expect(
    run(
      (t) => {
        const x = input(t);
        expect(x.cast('f32').node).toBe(x.node);
        return x;
      },
      { inputs: { x: values } },
    ).dtype,
  ).toBe('f32');
});

test('max and min let NaN win; isNaN finds it', () => {
  const y = (build: (x: Tensor<'n', 'f32'>) => Tensor) =>
    run((t) => build(t.input('x', 'n', { n: 3 })), { inputs: { x: [1, NaN, 3] } }).data;
  expect(
    distance(
      y((x) => x.max(2)),
      [2, NaN, 3],
    ),
  ).toBe(0);
  expect(
    distance(
      y((x) => x.min(2)),
      [1, NaN, 2],
    ),
  ).toBe(0);
  expect(y((x) => isNaN(x))).toEqual([0, 1, 0]);
});

/** Positions of the largest elements, as PyTorch ranks: NaN first, then falling; the earlier of equals first. */
function ranked(row: readonly number[]): readonly number[] {
  const before = (i: number, j: number) => {
    const [a = 0, b = 0] = [row[i], row[j]];
    if (Number.isNaN(a) !== Number.isNaN(b)) return Number.isNaN(a) ? -1 : 1;
    return Number.isNaN(a) || a === b ? i - j : b - a;
  };
  return row.map((_, i) => i).sort(before);
}

const element = fc.oneof(fc.integer({ min: -3, max: 3 }), fc.constantFrom(NaN, Infinity, -Infinity));

// Each property traces and runs many small graphs.
describe('ranking', { timeout: 60_000 }, () => {
  test('argmax is the first of the largest, NaN above all', () => {
    fc.assert(
      fc.property(fc.array(element, { minLength: 1, maxLength: 7 }), (row) => {
        const y = run((t) => argmax(t.input('x', 'n d', { n: row.length, d: 1 }), 'n'), { inputs: { x: row } });
        expect([y.axes, y.dtype, y.data]).toEqual(['d', 'i32', ranked(row).slice(0, 1)]);
      }),
      { numRuns: 60 },
    );
  });

  test('topK by ranks', () => {
    fc.assert(
      fc.property(fc.array(element, { minLength: 3, maxLength: 7 }), (row) => {
        const inputs = { x: [...row, ...row.toReversed()] };
        const top = (pick: 'values' | 'indices') =>
          run((t) => topK(t.input('x', 'b n', { b: 2, n: row.length }), 'n', 3, 'k')[pick], { inputs });
        const expected = [row, row.toReversed()].map((r) => ranked(r).slice(0, 3));
        expect(top('indices').axes).toBe('b k');
        expect(top('indices').data).toEqual(expected.flat());
        expect(
          distance(
            top('values').data,
            expected.flatMap((indices, b) => indices.map((i) => inputs.x[b * row.length + i] ?? 0)),
          ),
        ).toBe(0);
      }),
      { numRuns: 40 },
    );
  });

  test('topK of a long axis, one after the other', () => {
    const row = numbers(4100);
    const y = run((t) => topK(t.input('x', 'n', { n: row.length }), 'n', 3).indices, { inputs: { x: row } });
    expect([y.axes, y.data]).toEqual(['n', ranked(row).slice(0, 3)]);
    const odd = [...Array.from({ length: 4097 }, () => -Infinity), NaN, -Infinity, NaN];
    expect(run((t) => topK(t.input('x', 'n', { n: odd.length }), 'n', 4).indices, { inputs: { x: odd } }).data).toEqual(
      ranked(odd).slice(0, 4),
    );
  });
});
