// Patterns, products, ranges and joins against plain loops, and which nodes they make.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  concat,
  einsum,
  flip,
  gather,
  order,
  pad,
  printSize,
  randomParams,
  rearrange,
  reduce,
  repeat,
  slice,
  stack,
  trace,
  window,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { at, distance, numbers, run, table } from './run.ts';

const opsOf = (build: (t: Trace) => Tensor) =>
  order(trace(randomParams(1), (t) => ({ y: build(t) }))).map((node) => node.op.name);

describe('rearrange', () => {
  test('regions: b (y i) (x j) c -> b q=(y x) t=(i j) c', () => {
    const data = numbers(1 * 4 * 6 * 3);
    const y = run(
      (t) =>
        rearrange(t.input('m', 'b h w c', { b: 1, h: 4, w: 6, c: 3 }), 'b (y i) (x j) c -> b q=(y x) t=(i j) c', {
          y: 2,
          x: 2,
        }),
      { inputs: { m: data } },
    );
    const m = at(data, [1, 4, 6, 3]);
    expect(y.axes).toBe('b q t c');
    expect(y.data).toEqual(
      table([1, 4, 6, 3], (b, q, t, c) =>
        m(b ?? 0, Math.floor((q ?? 0) / 2) * 2 + Math.floor((t ?? 0) / 3), ((q ?? 0) % 2) * 3 + ((t ?? 0) % 3), c ?? 0),
      ),
    );
  });

  test('makes one node, and none when nothing changes', () => {
    const x = (t: Trace) => t.input('x', 'b n d', { b: 1, n: 6, d: 4 });
    expect(opsOf((t) => rearrange(x(t), 'b n d -> b n d'))).toEqual(['input']);
    expect(opsOf((t) => rearrange(x(t), 'b n=(n) d -> b n d'))).toEqual(['input']);
    expect(opsOf((t) => rearrange(x(t), 'b (h w) d -> d q=(w h) b', { h: 2 }))).toEqual(['input', 'rearrange']);
  });

  test('there and back is the same tensor, for any sizes', { timeout: 60_000 }, () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 4 }),
        fc.integer({ min: 1, max: 4 }),
        (h, w, d) => {
          const data = numbers(h * w * d);
          const y = run(
            (t) => {
              const x = t.input('x', 'n d', { n: h * w, d });
              return rearrange(rearrange(x, '(h w) d -> d m=(w h)', { h }), 'd (w h) -> n=(h w) d', { h });
            },
            { inputs: { x: data } },
          );
          expect(y.data).toEqual(data);
        },
      ),
      { numRuns: 25 },
    );
  });

  test('symbolic sizes divide and multiply', () => {
    const graph = trace(randomParams(1), (t) => {
      const n = t.symbol('n', { upTo: 10 });
      const x = rearrange(t.input('x', 'n k d', { n, k: 4, d: 2 }), 'n k d -> m=(n k) d');
      return { x, y: rearrange(x, '(n k) d -> n k d', { k: 2 }), z: rearrange(x, '(n k) d -> n k d', { n }) };
    });
    const sizes = (name: string) =>
      graph.outputs
        .get(name)
        ?.type.axes.map((axis) => printSize(axis.size))
        .join(' ');
    expect([sizes('x'), sizes('y'), sizes('z')]).toEqual(['4n 2', '2n 2 2', 'n 4 2']);
  });

  test('drops and makes axes of size 1', () => {
    const y = run(
      (t) => rearrange(rearrange(t.input('x', 'b u d', { b: 2, u: 1, d: 3 }), 'b () d -> d b'), 'd b -> d one=() b'),
      { inputs: { x: [1, 2, 3, 4, 5, 6] } },
    );
    expect([y.axes, y.shape, y.data]).toEqual(['d one b', [3, 1, 2], [1, 4, 2, 5, 3, 6]]);
  });
});

test('repeat widens, and merges what it widened', () => {
  const x = (t: Trace) => t.input('x', 'n c', { n: 2, c: 2 });
  const wide = run((t) => repeat(x(t), 'n c -> n r c', { r: 2 }), { inputs: { x: [1, 2, 3, 4] } });
  expect([wide.shape, wide.data]).toEqual([
    [2, 2, 2],
    [1, 2, 1, 2, 3, 4, 3, 4],
  ]);
  const each = run((t) => repeat(x(t), 'n c -> m=(n r) c', { r: 2 }), { inputs: { x: [1, 2, 3, 4] } });
  expect([each.shape, each.data]).toEqual([
    [4, 2],
    [1, 2, 1, 2, 3, 4, 3, 4],
  ]);
  const tiled = run((t) => repeat(x(t), 'n c -> c m=(r n)', { r: 2 }), { inputs: { x: [1, 2, 3, 4] } });
  expect([tiled.axes, tiled.data]).toEqual(['c m', [1, 3, 1, 3, 2, 4, 2, 4]]);
  expect(opsOf((t) => repeat(x(t), 'n c -> b n c', { b: 3 }))).toEqual(['input', 'broadcast']);
});

describe('reduce', () => {
  const data = numbers(2 * 3 * 4);
  const m = at(data, [2, 3, 4]);
  const of = (f: (values: readonly number[]) => number) =>
    table([4, 2], (c = 0, b = 0) => f([0, 1, 2].map((n) => m(b, n, c))));
  test.each([
    ['sum', (v: readonly number[]) => v.reduce((a, b) => a + b, 0)],
    ['mean', (v: readonly number[]) => v.reduce((a, b) => a + b, 0) / v.length],
    ['max', (v: readonly number[]) => Math.max(...v)],
    ['min', (v: readonly number[]) => Math.min(...v)],
  ] as const)('%s, with the kept axes in another order', (by, f) => {
    const y = run((t) => reduce(t.input('x', 'b n c', { b: 2, n: 3, c: 4 }), 'b n c -> c b', by), {
      inputs: { x: data },
    });
    expect(y.axes).toBe('c b');
    expect(distance(y.data, of(f))).toBeLessThan(1e-12);
  });

  test('a mean over a symbolic axis divides by its extent', () => {
    const build = (t: Trace) =>
      reduce(t.input('x', 'n m c', { n: t.symbol('n', { upTo: 8 }), m: 2, c: 2 }), 'n m c -> c', 'mean');
    for (const n of [1, 3, 8]) {
      const values = numbers(n * 4, n);
      const expected = [0, 1].map((c) => values.filter((_, i) => i % 2 === c).reduce((a, b) => a + b, 0) / (2 * n));
      expect(distance(run(build, { inputs: { x: values }, symbols: { n } }).data, expected)).toBeLessThan(1e-12);
    }
  });

  test('a mean of f16 adds up in f32', () => {
    expect(
      opsOf((t) => reduce(t.input('x', 'n', { n: 4 }, 'f16'), 'n -> ', 'mean')).filter((op) => op === 'cast').length,
    ).toBe(2);
  });

  test('pools by a group', () => {
    const y = run((t) => reduce(t.input('x', 'h w', { h: 4, w: 4 }), '(y i) (x j) -> y x', 'max', { i: 2, j: 2 }), {
      inputs: { x: table([4, 4], (h = 0, w = 0) => h * 4 + w) },
    });
    expect(y.data).toEqual([5, 7, 13, 15]);
  });
});

describe('einsum', () => {
  const sizes = { b: 2, n: 3, i: 4, o: 5 };
  const [xs, ws] = [numbers(24), numbers(20, 2)];
  const [x, w] = [at(xs, [2, 3, 4]), at(ws, [5, 4])];
  const build = (t: Trace) =>
    [t.input('x', 'b n i', { b: 2, n: 3, i: 4 }), t.input('w', 'o i', { o: 5, i: 4 })] as const;
  const sum = (count: number, f: (i: number) => number) =>
    Array.from({ length: count }, (_, i) => f(i)).reduce((a, b) => a + b, 0);

  test('a product of matrices with a batch axis', () => {
    const y = run((t) => einsum(...build(t), 'b n i, o i -> o b n'), { inputs: { x: xs, w: ws } });
    expect(
      distance(
        y.data,
        table([5, 2, 3], (o = 0, b = 0, n = 0) => sum(4, (i) => x(b, n, i) * w(o, i))),
      ),
    ).toBeLessThan(1e-12);
  });

  test('an axis of one operand that nobody keeps is summed first', () => {
    const ops = opsOf((t) => einsum(...build(t), 'b n i, o i -> b'));
    expect(ops.filter((op) => op === 'sum').length).toBe(2);
    const y = run((t) => einsum(...build(t), 'b n i, o i -> b'), { inputs: { x: xs, w: ws } });
    expect(
      distance(
        y.data,
        [0, 1].map((b) => sum(3, (n) => sum(5, (o) => sum(4, (i) => x(b, n, i) * w(o, i))))),
      ),
    ).toBeLessThan(1e-12);
  });

  test('without a sum it is an outer product', () => {
    expect(opsOf((t) => einsum(...build(t), 'b n i, o i -> b n i o'))).not.toContain('contract');
    const y = run((t) => einsum(...build(t), 'b n i, o i -> i o n b'), { inputs: { x: xs, w: ws } });
    expect(
      distance(
        y.data,
        table([4, 5, 3, 2], (i = 0, o = 0, n = 0, b = 0) => x(b, n, i) * w(o, i)),
      ),
    ).toBeLessThan(1e-12);
    expect(y.shape).toEqual([sizes.i, sizes.o, sizes.n, sizes.b]);
  });

  test('to a scalar', () => {
    const y = run((t) => einsum(t.input('a', 'i', { i: 3 }), t.input('b', 'i', { i: 3 }), 'i, i -> '), {
      inputs: { a: [1, 2, 3], b: [4, 5, 6] },
    });
    expect([y.axes, y.data]).toEqual(['', [32]]);
  });
});

describe('ranges', () => {
  const line = (t: Trace) => t.input('x', 'n', { n: 6 });
  const of = (build: (t: Trace) => Tensor) => run(build, { inputs: { x: [0, 1, 2, 3, 4, 5] } }).data;
  test('slice', () => {
    expect(of((t) => slice(line(t), 'n', { start: 2 }))).toEqual([2, 3, 4, 5]);
    expect(of((t) => slice(line(t), 'n', { start: -2 }))).toEqual([4, 5]);
    expect(of((t) => slice(line(t), 'n', { start: 1, size: 2 }))).toEqual([1, 2]);
    expect(of((t) => slice(line(t), 'n', { start: 1, step: 2 }))).toEqual([1, 3, 5]);
    expect(of((t) => slice(line(t), 'n', { step: 4 }))).toEqual([0, 4]);
    expect(opsOf((t) => slice(line(t), 'n', { start: 0, size: 6 }))).toEqual(['input']);
  });
  test('at', () => {
    expect(of((t) => line(t).at('n', 4))).toEqual([4]);
    expect(of((t) => line(t).at('n', -1))).toEqual([5]);
    expect(
      run((t) => t.input('x', 'n d', { n: t.symbol('n', { upTo: 5 }), d: 2 }).at('n', -1), {
        inputs: { x: [1, 2, 3, 4, 5, 6] },
        symbols: { n: 3 },
      }).data,
    ).toEqual([5, 6]);
  });
  test('pad and flip', () => {
    expect(of((t) => pad(line(t), 'n', { before: 1, after: 2, value: 9 }))).toEqual([9, 0, 1, 2, 3, 4, 5, 9, 9]);
    expect(of((t) => flip(line(t), 'n'))).toEqual([5, 4, 3, 2, 1, 0]);
    expect(opsOf((t) => pad(line(t), 'n', {}))).toEqual(['input']);
  });
  test('window', () => {
    const y = run((t) => window(line(t), 'n', { into: ['n', 'k'], size: 2, stride: 2, dilation: 3 }), {
      inputs: { x: [0, 1, 2, 3, 4, 5] },
    });
    expect([y.axes, y.shape, y.data]).toEqual(['n k', [2, 2], [0, 3, 2, 5]]);
  });
  test('concat and stack', () => {
    const two = (t: Trace) => [t.input('x', 'n', { n: 2 }), t.input('z', 'n', { n: 2 })];
    const inputs = { x: [1, 2], z: [3, 4] };
    expect(run((t) => concat(two(t), 'n'), { inputs }).data).toEqual([1, 2, 3, 4]);
    const stacked = run((t) => stack(two(t), 'k'), { inputs });
    expect([stacked.axes, stacked.data]).toEqual(['n k', [1, 3, 2, 4]]);
    expect(opsOf((t) => concat([line(t)], 'n'))).toEqual(['input']);
  });
  test('gather shares batch axes', () => {
    const y = run(
      (t) => gather(t.input('x', 'b n d', { b: 2, n: 3, d: 2 }), t.input('i', 'b k', { b: 2, k: 2 }, 'i32'), 'n'),
      { inputs: { x: numbers(12), i: [2, 0, 1, 1] } },
    );
    const x = at(numbers(12), [2, 3, 2]);
    expect(y.axes).toBe('b k d');
    expect(y.data).toEqual(
      table([2, 2, 2], (b = 0, k = 0, d = 0) =>
        x(
          b,
          [
            [2, 0],
            [1, 1],
          ][b]?.[k] ?? 0,
          d,
        ),
      ),
    );
  });
});

test('equal expressions are one node', () => {
  trace(randomParams(1), (t) => {
    const x = t.input('x', 'b n', { b: 2, n: 4 });
    expect(x.mul(2).node).toBe(x.mul(2).node);
    expect(rearrange(x, 'b (h w) -> b h w', { h: 2 }).node).toBe(rearrange(x, 'b (h w) -> b h w', { w: 2 }).node);
    expect(x.mul(2).node).not.toBe(x.mul(-2).node);
    return { x };
  });
});
