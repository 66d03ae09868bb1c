// The judge and near ties at a maximum: what rounding may make equal may share the gradient in any way, and nothing else may.
import { describe, expect, test } from 'vitest';
import { gradientGraph } from '../../dsl/gradient/gradient-graph.ts';
import { parse } from '../../dsl/text/parse.ts';
import { evaluateWithError, isWithin } from '../../pipelines/testing/forward-error.ts';

/** The gradient by `a` of 3 · the largest (or least) of a row of a·b, computed in f16: exact operands, products that are not. */
function boundOf(a: readonly number[], b: readonly number[], op = 'reduceMax') {
  const forward = parse(`graph
%0 = input name=a : f16 [n:${a.length}]
%1 = input name=b : f16 [n:${a.length}]
%2 = mul %0 %1 : f16 [n:${a.length}]
%3 = ${op} %2 axes=[n] : f16 []
%4 = cast %3 to=f32 : f32 []
%5 = const values=<3> : f32 []
%6 = mul %4 %5 : f32 []
return loss=%6
`);
  const inputs = new Map(Object.entries({ a, b }));
  const found = evaluateWithError(gradientGraph(forward, 'loss', ['a']), { inputs, params: () => [] }).outputs.get(
    'd a',
  );
  return (got: readonly number[]): readonly boolean[] =>
    got.map((value, i) => isWithin(value, found?.data[i] ?? NaN, found?.error[i] ?? NaN));
}

describe('the gradient of a maximum', () => {
  // 1.5 · 1.5 = 2.25, 1.49804… · 1.50195… is 2^-18 less, which f16 (2^-9 apart there) may or may not keep apart; 1 · 1 is far away.
  const [a, b] = [
    [1.5, 1.5 - 2 ** -9, 1],
    [1.5, 1.5 + 2 ** -9, 1],
  ] as const;

  test('may go to either of two that rounding may make equal, or to both, and to no other', () => {
    const within = boundOf(a, b);
    for (const [first, second] of [
      [1, 0],
      [0, 1],
      [0.5, 0.5],
    ] as const)
      expect(within([3 * b[0] * first, 3 * b[1] * second, 0])).toEqual([true, true, true]);
    // A bound lies evenly around the exact value, and no share is more than the whole.
    expect(within([7.5 * b[0], 7.5 * b[1], 0.01])).toEqual([false, false, false]);
    expect(within([-0.1, -7.5, -0.01])).toEqual([false, false, false]);
  });

  test('of a minimum, likewise', () => {
    const within = boundOf([a[0], a[1], 2], [b[0], b[1], 2], 'reduceMin');
    expect(within([3 * b[0], 0, 0])).toEqual([true, true, true]);
    expect(within([0, 3 * b[1], 0])).toEqual([true, true, true]);
    expect(within([7.5 * b[0], 7.5 * b[1], 0.01])).toEqual([false, false, false]);
  });

  test('goes to one that stands alone, to the digits of f16', () => {
    const within = boundOf([1.5, 1.25, 1], [1.5, 1.25, 1]);
    expect(within([4.5, 0, 0])).toEqual([true, true, true]);
    expect(within([4.5 * (1 + 2 ** -6), 2 ** -20, 2 ** -20])).toEqual([false, false, false]);
    expect(within([2.25, 2.25, 0])).toEqual([false, false, true]);
  });

  test('is divided evenly where elements are equal without any rounding', () => {
    const within = boundOf([1, 1, 0.5], [1, 1, 0.5]);
    expect(within([1.5, 1.5, 0])).toEqual([true, true, true]);
  });
});
