// The gradient of every array op over generated shapes, against central differences in f64.
import { elementsOf } from '../../../dsl/axis/axes.ts';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import {
  concat,
  conv2d,
  einsum,
  fixedParams,
  flip,
  gather,
  opByName,
  ops,
  order,
  pad,
  rearrange,
  reduce,
  repeat,
  scatterAdd,
  slice,
  tanh,
  trace,
  window,
  type Graph,
  type ParamSource,
  type Tensor,
  type Trace,
} from '../../../dsl/index.ts';
import { everything } from '../../support/share.ts';
import { numbers } from '../run.ts';
import { compareWithDifferences, leavesOf } from './differences.ts';

const size = fc.integer({ min: 1, max: 4 });
const seen = new Set<string>();

type Made = {
  readonly y: Tensor;
  readonly wrt: readonly string[];
  readonly whole?: Readonly<Record<string, readonly number[]>>;
};

/** loss = Σ tanh(y) · numbers: tanh makes the gradient depend on the values of y. */
function hold(build: (t: Trace) => Made, source: ParamSource = fixedParams({})): void {
  let made: Made | undefined;
  const graph: Graph = trace(source, (t) => {
    made = build(t);
    const { y } = made;
    const names = y.axes.map((axis) => axis.name).join(' ');
    const sizes = Object.fromEntries(y.axes.map((axis) => [axis.name, axis.size]));
    const count = elementsOf(y.axes);
    const weights = t.constant<string>(numbers(count, 5), names, sizes);
    const weighted = tanh(y).mul(weights);
    return { loss: y.axes.length === 0 ? weighted : reduce(weighted, `${names} ->` as string as never, 'sum') };
  });
  if (made === undefined) throw new Error('nothing was traced');
  for (const node of order(graph)) seen.add(node.op.name);
  const { wrt, whole = {} } = made;
  const values = new Map(
    [...leavesOf(graph)].map(([name, leaf], i) => [
      name,
      Float64Array.from(leaf.float ? numbers(leaf.count, i + 1) : (whole[name] ?? [])),
    ]),
  );
  const compared = compareWithDifferences(graph, 'loss', wrt, values);
  for (const { name, element, gradient, difference, allowed } of compared)
    expect(
      Math.abs(gradient - difference),
      `${name}[${element}]: ${gradient}, differences say ${difference}`,
    ).toBeLessThanOrEqual(allowed);
}

const runs = { numRuns: 12, seed: 5 };

test('windows, of every stride and dilation', () => {
  fc.assert(
    fc.property(size, size, size, fc.integer({ min: 0, max: 3 }), size, (width, stride, dilation, more, other) => {
      hold((t) => {
        const n = dilation * (width - 1) + 1 + more;
        const x = t.input('x', 'a n c', { a: other, n, c: 2 });
        return { y: window(x, 'n', { into: ['n', 'k'], size: width, stride, dilation }), wrt: ['x'] };
      });
    }),
    { ...runs, numRuns: 30 },
  );
});

test('convolutions, dense, grouped and one filter a channel', { timeout: 300_000 }, () => {
  fc.assert(
    fc.property(
      fc.constantFrom(
        { groups: 1, i: 2, o: 3 },
        { groups: 1, i: 1, o: 1 },
        { groups: 2, i: 1, o: 4 },
        { groups: 3, i: 1, o: 3 },
      ),
      fc.tuple(size, size),
      fc.tuple(size, size),
      fc.tuple(fc.integer({ min: 0, max: 2 }), fc.integer({ min: 0, max: 2 })),
      fc.constantFrom([1, 1], [1, 1], [1, 1], [2, 1], [3, 2]),
      fc.constantFrom([1, 1], [1, 1], [2, 1], [1, 3]),
      fc.tuple(fc.nat(4), fc.nat(4)),
      ({ groups, i, o }, [b], [kh, kw], [ph, pw], [sh = 1, sw = 1], [dh = 1, dw = 1], [more, wider]) => {
        const [h, w] = [
          Math.max(1, dh * (kh - 1) + 1 - 2 * ph) + more,
          Math.max(1, dw * (kw - 1) + 1 - 2 * pw) + wider,
        ];
        const weight = { shape: [o, i, kh, kw], values: numbers(o * i * kh * kw, 7) };
        hold((t) => {
          const x = t.input('x', 'b h w c', { b: Math.min(b, 2), h, w, c: groups * i });
          const options = { kernel: [kh, kw], padding: [ph, pw], stride: [sh, sw], dilation: [dh, dw] } as const;
          return { y: conv2d(t.params, x, { ...options, out: 'c', groups, bias: false }), wrt: ['x', 'weight'] };
        }, fixedParams({ weight }));
      },
    ),
    { ...runs, numRuns: everything ? 200 : 10 },
  );
});

test('what is not a product of the right shape: sums of windows, their squares, products with what has both axes', () => {
  fc.assert(
    fc.property(size, size, fc.nat(5), (width, dilation, more) => {
      hold((t) => {
        const n = dilation * (width - 1) + 6 + more;
        const x = t.input('x', 'n c', { n, c: 2 });
        const seen = window(x, 'n', { into: ['n', 'k'], size: width, dilation });
        const both = t.input('w', 'n k', { n: seen.size('n'), k: width });
        const one = t.input('v', 'k', { k: width });
        const squares = reduce(seen.mul(seen).mul(one), 'n k c -> n c', 'sum');
        return { y: squares.add(reduce(seen.mul(both), 'n k c -> n c', 'sum')), wrt: ['x', 'w', 'v'] };
      });
    }),
    { ...runs, numRuns: 8 },
  );
});

test('slices, of every start and step', () => {
  fc.assert(
    fc.property(
      size,
      fc.integer({ min: 0, max: 3 }),
      size,
      fc.integer({ min: 0, max: 3 }),
      (taken, start, step, more) => {
        hold((t) => {
          const n = start + step * (taken - 1) + 1 + more;
          const x = t.input('x', 'n c', { n, c: 3 });
          return { y: slice(x, 'n', { start, size: taken, step }), wrt: ['x'] };
        });
      },
    ),
    { ...runs, numRuns: 30 },
  );
});

test('padding, flips, patterns and repetition', () => {
  fc.assert(
    fc.property(size, size, size, (a, b, c) => {
      hold((t) => {
        const x = t.input('x', 'a b c', { a, b, c });
        const wide = pad(flip(x, 'b'), 'a', { before: b, after: c - 1, value: 0.5 });
        const turned = rearrange(wide, 'a b c -> c m=(b a)');
        return { y: repeat(turned, 'c m -> m r=(k c)', { k: 2 }), wrt: ['x'] };
      });
    }),
    runs,
  );
});

test('concatenations, also of one tensor twice', () => {
  fc.assert(
    fc.property(size, size, size, (a, b, c) => {
      hold((t) => {
        const x = t.input('x', 'a c', { a, c });
        const y = t.input('y', 'a c', { a: b, c });
        return { y: concat([x, y, x], 'a'), wrt: ['x', 'y'] };
      });
    }),
    runs,
  );
});

test('rows that are read several times, once, or never, and positions outside', () => {
  fc.assert(
    fc.property(
      size,
      size,
      size,
      fc.array(fc.integer({ min: -2, max: 6 }), { minLength: 12, maxLength: 12 }),
      (v, d, b, at) => {
        hold((t) => {
          const x = t.input('x', 'v b d', { v, b, d });
          const index = t.input('index', 'b n', { b, n: 3 }, 'i32');
          return { y: gather(x, index, 'v'), wrt: ['x'], whole: { index: at.slice(0, 3 * b) } };
        });
      },
    ),
    { ...runs, numRuns: 20 },
  );
});

test('products of every arrangement', () => {
  const patterns = [
    'b m k, b k n -> b m n',
    'b m k, b k n -> n b m',
    'm k, k n -> n m',
    'b m k, b m k -> b',
    'b m k, b m k ->',
    'm, n -> m n',
    'b m, b n -> b n m',
    'm k, k -> m',
    'b m k, k n -> m n',
  ];
  for (const pattern of patterns)
    fc.assert(
      fc.property(size, size, size, size, (b, m, n, k) => {
        const sizes = { b, m, n, k };
        hold((t) => {
          const [left = '', right = ''] =
            pattern
              .split('->')[0]
              ?.split(',')
              .map((side) => side.trim()) ?? [];
          const operand = (name: string, axes: string) =>
            t.input<string>(
              name,
              axes,
              Object.fromEntries(axes.split(' ').map((axis) => [axis, sizes[axis as keyof typeof sizes]])),
            );
          return { y: einsum(operand('x', left), operand('y', right), pattern as never), wrt: ['x', 'y'] };
        });
      }),
      { numRuns: 3, seed: 2 },
    );
});

test('reductions', () => {
  for (const by of ['sum', 'mean', 'max', 'min'] as const)
    fc.assert(
      fc.property(size, size, size, (a, b, c) => {
        hold((t) => {
          const x = t.input('x', 'a b c', { a, b, c });
          return { y: reduce(x, 'a b c -> b', by), wrt: ['x'] };
        });
      }),
      { numRuns: 6, seed: 4 },
    );
});

test('operands that broadcast by name', () => {
  fc.assert(
    fc.property(size, size, size, (a, b, c) => {
      hold((t) => {
        const x = t.input('x', 'a b c', { a, b, c });
        const y = t.input('y', 'c a', { c, a });
        const z = t.input('z', '', {});
        return { y: x.mul(y).add(z).div(y.mul(y).add(1)).mul(z), wrt: ['x', 'y', 'z'] };
      });
    }),
    runs,
  );
});

test('scatterAdd', () => {
  fc.assert(
    fc.property(
      size,
      size,
      size,
      fc.array(fc.integer({ min: -1, max: 4 }), { minLength: 16, maxLength: 16 }),
      (b, n, d, at) => {
        hold((t) => {
          const x = t.input('x', 'b n d', { b, n, d });
          const index = t.input('index', 'b n', { b, n }, 'i32');
          return { y: scatterAdd(x, index, 'v b d', { v: 3 }), wrt: ['x'], whole: { index: at.slice(0, b * n) } };
        });
        hold((t) => {
          const x = t.input('x', 'd n b', { d, n, b });
          const index = t.input('index', 'n b', { n, b }, 'i32');
          return { y: scatterAdd(x, index, 'd v', { v: 4 }), wrt: ['x'], whole: { index: at.slice(0, b * n) } };
        });
      },
    ),
    runs,
  );
});

test('no array op was left out', () => {
  const kinds = new Set(['view', 'join', 'gather', 'scatter', 'contract', 'reduce']);
  const all = ops.filter((op) => kinds.has(op.kind)).map((op) => op.name);
  expect(all.filter((name) => opByName(name) !== undefined && !seen.has(name))).toEqual([]);
});
