// Cross-entropy with the head in parts is cross-entropy of all logits; what does not fit is refused.
import { describe, expect, test } from 'vitest';
import {
  crossEntropy,
  einsum,
  fixedParams,
  gradients,
  linearCrossEntropy,
  trace,
  type CrossEntropyOptions,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { distance, numbers, run } from './run.ts';

const sizes = { n: 5, e: 6, v: 200 };
const inputs = { x: numbers(30, 1), head: numbers(1200, 2).map((w) => 3 * w), labels: [3, -100, 199, 64, 0] };

function loss(t: Trace, parts: number | undefined, options: CrossEntropyOptions): readonly Tensor[] {
  const x = t.input('x', 'n e', { n: sizes.n, e: sizes.e });
  const head = t.input('head', 'v e', { v: sizes.v, e: sizes.e });
  const labels = t.input('labels', 'n', { n: sizes.n }, 'i32');
  const value =
    parts === undefined
      ? crossEntropy(einsum(x, head, 'n e, v e -> n v'), labels, { ...options, axis: 'v' })
      : linearCrossEntropy(x, head, labels, { ...options, partBytes: parts });
  return [value, ...gradients(value, [x, head])];
}

describe('in parts of 64 classes, and whole', () => {
  test.each<CrossEntropyOptions>([{}, { reduction: 'sum' }, { smoothing: 0.1 }, { ignore: 64 }])('%o', (options) => {
    const used = options.ignore === 64 ? { ...inputs, labels: [3, 5, 199, 64, 0] } : inputs;
    for (const which of [0, 1, 2]) {
      const of = (parts: number | undefined) =>
        run((t) => loss(t, parts, options)[which] as Tensor, { inputs: used }).data;
      expect(distance(of(4 * 64 * sizes.n), of(undefined))).toBeLessThan(1e-13);
    }
  });
});

test('labels on other axes, and a head that shares none', () => {
  const refused = (build: (t: Trace) => Tensor) => () => trace(fixedParams({}), (t) => ({ y: build(t) }));
  expect(
    refused((t) => {
      const logits = t.input('logits', 'n v', { n: 2, v: 3 });
      const labels: Tensor<string, 'i32'> = t.input('labels', 'm', { m: 2 }, 'i32');
      return crossEntropy(logits, labels, { axis: 'v' });
    }),
  ).toThrow(/the labels \[m:2\] must have the axes \[n:2\][^]*one label a row/);
  expect(
    refused((t) => {
      const labels = t.input('labels', 'n', { n: 2 }, 'i32');
      const head: Tensor<string, 'f32'> = t.input('head', 'v f', { v: 4, f: 3 });
      return linearCrossEntropy(t.input('x', 'n e', { n: 2, e: 3 }), head, labels);
    }),
  ).toThrow(/must share one axis with the hidden states/);
});

describe('labels that are no class and are not ignored', () => {
  // Of 200 classes in parts of 64: below, one above, and where a part has no such class.
  const wrong = [3, 200, -1, 199, 1e6];
  const isWrong = wrong.map((label) => label < 0 || label >= sizes.v);
  test.each<readonly [string, number | undefined, CrossEntropyOptions]>([
    ['whole', undefined, {}],
    ['whole, with labels smoothed', undefined, { smoothing: 0.1 }],
    ['in parts', 4 * 64 * sizes.n, {}],
    ['in parts, summed', 4 * 64 * sizes.n, { reduction: 'sum' }],
  ])('%s: the loss is NaN, and so are the gradients of their rows alone', (_name, parts, options) => {
    const of = (which: number, labels: readonly number[]) =>
      run((t) => loss(t, parts, options)[which] as Tensor, { inputs: { ...inputs, labels } }).data;
    expect(of(0, wrong)).toEqual([NaN]);
    expect(of(2, wrong)).toEqual(Array.from({ length: sizes.v * sizes.e }, () => NaN));
    // A mean is over the rows that count, be their labels right or wrong.
    const counted = options.reduction === 'sum' ? 1 : 2 / wrong.length;
    const without = of(
      1,
      wrong.map((label, i) => (isWrong[i] === true ? -100 : label)),
    );
    const expected = without.map((x, i) => (isWrong[Math.floor(i / sizes.e)] === true ? NaN : x * counted));
    expect(distance(of(1, wrong), expected)).toBeLessThan(1e-13);
  });

  test('an ignored label counts for nothing, be it a class or none', () => {
    for (const ignore of [-100, 7, 1000])
      for (const which of [0, 1, 2]) {
        const { data } = run((t) => loss(t, undefined, { ignore })[which] as Tensor, {
          inputs: { ...inputs, labels: [3, ignore, 199, ignore, 0] },
        });
        expect(data.filter((x) => !Number.isFinite(x))).toEqual([]);
      }
  });
});
