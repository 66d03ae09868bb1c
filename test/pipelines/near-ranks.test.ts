// The judge and choices among rounded numbers: what is sure is held to the last rank, and a comparison of nothing is none.
import { describe, expect, test } from 'vitest';
import {
  argsort,
  concat,
  floor,
  gather,
  gridSample,
  randomParams,
  repeat,
  topK,
  trace,
  type Graph,
  type Trace,
} from '../../dsl/index.ts';
import { compareAll, exactly } from '../../pipelines/testing/expect-same.ts';
import { evaluateWithError } from '../../pipelines/testing/forward-error.ts';
import { expectSame } from '../../pipelines/testing/index.ts';
import { withoutGpu } from '../gpu/compare.ts';

const traced = (build: Parameters<typeof trace>[1]): Graph => trace(randomParams(1), build);

/** The bound of each rank of x · 0.1, which is rounded. */
function ranksOf(x: readonly number[], options: { readonly descending?: boolean; readonly first?: number } = {}) {
  const { descending, first } = options;
  const graph = traced((t) => {
    const scaled = t.input('x', 'n', { n: x.length }).mul(0.1);
    return {
      order:
        first === undefined
          ? argsort(scaled, 'n', { descending: descending === true })
          : topK(scaled, 'n', first).indices,
    };
  });
  const found = evaluateWithError(graph, { inputs: new Map([['x', x]]), params: () => [] }).outputs.get('order');
  return { order: Array.from(found?.data ?? []), error: Array.from(found?.error ?? []) };
}

describe('the ranks of rounded numbers', () => {
  const near = 1 + 2 ** -23;

  test('are sure where they lie apart', () => {
    expect(ranksOf([3, 1, 2])).toEqual({ order: [1, 2, 0], error: [0, 0, 0] });
    expect(ranksOf([3, 1, 2], { descending: true })).toEqual({ order: [0, 2, 1], error: [0, 0, 0] });
    expect(ranksOf([3, 1, 2], { first: 2 })).toEqual({ order: [0, 2], error: [0, 0] });
  });

  test('may be either of two that may be equal, and no other', () => {
    expect(ranksOf([3, near, 2, 1]).error).toEqual([Infinity, Infinity, 0, 0]);
    expect(ranksOf([3, near, 2, 1], { descending: true }).error).toEqual([0, 0, Infinity, Infinity]);
    // Of the two one is the third, and either may be.
    expect(ranksOf([3, near, 2, 1], { first: 3 }).error).toEqual([0, 0, Infinity]);
    expect(ranksOf([3, near, 2, 1], { first: 2 }).error).toEqual([0, 0]);
  });

  test('NaN is the largest, and equal numbers that are exact keep their order', () => {
    expect(ranksOf([Number.NaN, 1, 2]).order).toEqual([1, 2, 0]);
    const mixed = traced((t) => {
      const x = t.input('x', 'n', { n: 3 });
      return { order: argsort(concat([x, repeat(x.at('n', 1).mul(0.3), '-> n', { n: 3 })], 'n'), 'n') };
    });
    const { outputs } = evaluateWithError(mixed, { inputs: new Map([['x', [0, 1, 0]]]), params: () => [] });
    // 0 and 0, and three numbers near 0.3, of which each may be any.
    expect(Array.from(outputs.get('order')?.data ?? []).slice(0, 2)).toEqual([0, 2]);
    expect(Array.from(outputs.get('order')?.error ?? [])).toEqual([0, 0, Infinity, Infinity, Infinity, 0]);
  });
});

test('sums and products of whole numbers are exact, so that positions made of them are', () => {
  const graph = traced((t) => {
    const row = floor(t.input('x', 'n', { n: 3 }).mul(0.7)).add(1);
    return { at: row.mul(3).sub(2).cast('i32') };
  });
  const { outputs } = evaluateWithError(graph, { inputs: new Map([['x', [1, 2, 3]]]), params: () => [] });
  expect(outputs.get('at')).toMatchObject({ data: Float64Array.of(1, 4, 7), error: Float64Array.of(0, 0, 0) });
});

const sampled = (t: Trace) => {
  const map = t.input('map', 'b h w c', { b: 1, h: 4, w: 5, c: 3 });
  const points = t.input('points', 'q xy', { q: 6, xy: 2 }).mul(0.3);
  return { y: gridSample(map, repeat(points, 'q xy -> b q xy', { b: 1 })) };
};
const picked = (t: Trace) => {
  const x = t.input('x', 'n d', { n: 16, d: 4 });
  const scores = x.at('d', 0).mul(0.1);
  return { y: gather(x, topK(scores, 'n', 5, 'k').indices, 'n') };
};

test('what is read at positions that were computed has a bound, and another pixel or row is outside of it', () => {
  const numbers = (count: number) => Float32Array.from({ length: count }, (_, i) => Math.sin(i * 1.7 + 1));
  for (const [build, inputs] of [
    [sampled, { map: numbers(60), points: numbers(12) }],
    [picked, { x: numbers(64) }],
  ] as const) {
    const graph = traced(build);
    const exact = exactly(graph, randomParams(1), inputs, undefined);
    const data = exact.get('y')?.data ?? new Float64Array();
    expect(compareAll(exact, () => data, 1)).toEqual({ elements: data.length, unbounded: 0, worst: 0 });
    const other = data.toReversed();
    expect(() => compareAll(exact, () => other, 1)).toThrow(/is exact/);
  }
});

test('a comparison of nothing is refused', () => {
  const graph = traced((t) => ({ y: floor(t.input('x', 'n', { n: 2 }).mul(0.1).mul(10)) }));
  const exact = exactly(graph, randomParams(1), { x: Float32Array.of(1, 2) }, undefined);
  // ⌊0.1 · 10⌋ is 0 or 1, so any of them is right; an infinite bound says less.
  expect(compareAll(exact, () => [0, 1], 1).elements).toBe(2);
  const open = new Map([
    ['y', { axes: [], dtype: 'f32' as const, data: Float64Array.of(1), error: Float64Array.of(Infinity) }],
  ]);
  expect(() => compareAll(open, () => [7], 1)).toThrow(/no element of 1 can be compared[^]*before the choice/);
});

test.skipIf(withoutGpu)('the device gives the same pixels and rows', async () => {
  for (const build of [sampled, picked]) expect((await expectSame(build)).unbounded).toBe(0);
});
