// Sizes in symbols: sums, products and quotients have the value of the numbers they stand for, and a graph of symbolic sizes is, at every
// size, the graph of those numbers.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  addSizes,
  divideSize,
  evaluateSize,
  multiplySizes,
  printSize,
  sizeBound,
  sizeLeast,
  sizesEqual,
  subtractSizes,
  symbolSize,
  type Size,
} from '../../dsl/axis/axis.ts';
import { interpret } from '../../pipelines/run/interpreter.ts';
import {
  fixedParams,
  randomParams,
  rearrange,
  resize,
  trace,
  type ResizeOptions,
  type Trace,
} from '../../dsl/index.ts';
import { evaluate } from '../../runtime/reference/reference.ts';
import { cellCount, nativeResolution, type Grid } from '../support/native-resolution.ts';
import { numbers, run } from './run.ts';

const seed = Number(process.env['OPABINIA_SEED'] ?? 20261);

/** Sizes of up to three symbols beside their value, made by what is tested. */
const sizes = fc
  .record({
    limits: fc.array(fc.record({ least: fc.nat(3), more: fc.nat(6), at: fc.nat(6) }), { minLength: 3, maxLength: 3 }),
    steps: fc.array(
      fc.record({ op: fc.nat(2), left: fc.nat(20), right: fc.nat(20), number: fc.integer({ min: -4, max: 4 }) }),
      { maxLength: 7 },
    ),
  })
  .map(({ limits, steps }) => {
    const symbols = limits.map(({ least, more, at }, i) => ({
      size: symbolSize({ name: 'hnw'[i] ?? 'x', least, bound: least + more }),
      value: least + Math.min(at, more),
    }));
    const values = new Map(symbols.map(({ value }, i) => ['hnw'[i] ?? 'x', value]));
    const made: { readonly size: Size; readonly value: number }[] = [...symbols];
    for (const { op, left, right, number } of steps) {
      const a = made[left % made.length] ?? { size: 1, value: 1 };
      const b = right % 3 === 0 ? { size: number, value: number } : (made[right % made.length] ?? a);
      made.push(
        op === 0
          ? { size: addSizes(a.size, b.size), value: a.value + b.value }
          : op === 1
            ? { size: subtractSizes(a.size, b.size), value: a.value - b.value }
            : { size: multiplySizes(a.size, b.size), value: a.value * b.value },
      );
    }
    return { made, values };
  });

test('sums, differences and products have their value, between their ends', () => {
  fc.assert(
    fc.property(sizes, ({ made, values }) => {
      for (const { size, value } of made) {
        expect(evaluateSize(size, values) + 0).toBe(value + 0);
        expect(sizeLeast(size)).toBeLessThanOrEqual(value);
        expect(sizeBound(size)).toBeGreaterThanOrEqual(value);
      }
    }),
    { seed, numRuns: 300 },
  );
});

test('a quotient is what was multiplied; there is none where a rest is left', () => {
  fc.assert(
    fc.property(sizes, fc.nat(9), fc.nat(9), ({ made }, i, j) => {
      const [a, b] = [made.at(-1 - (i % made.length))?.size ?? 1, made.at(-1 - (j % made.length))?.size ?? 1];
      if (b === 0) {
        expect(divideSize(a, b)).toBeUndefined();
        return;
      }
      const product = multiplySizes(a, b);
      expect(printSize(divideSize(product, b) ?? NaN)).toBe(printSize(a));
      // No size divides by what is not a number, with 1 left over.
      if (typeof b !== 'number') expect(divideSize(addSizes(product, 1), b)).toBeUndefined();
    }),
    { seed, numRuns: 300 },
  );
});

test('a product that is linear in its symbols has exact ends', () => {
  const [h, w] = ['h', 'w'].map((name) => symbolSize({ name, least: 2, bound: 9 }));
  if (h === undefined || w === undefined) throw new TypeError('two symbols');
  // h·(w − 1): a range behind the first column fits.
  expect([sizeLeast(subtractSizes(multiplySizes(h, w), h)), sizeBound(subtractSizes(multiplySizes(h, w), h))]).toEqual([
    2, 72,
  ]);
  expect(printSize(addSizes(multiplySizes(multiplySizes(2, h), w), 1))).toBe('2h*w+1');
  expect(sizesEqual(multiplySizes(h, w), multiplySizes(w, h))).toBe(true);
});

describe('merged symbolic axes', () => {
  const source = randomParams(5);
  const symbols = (t: Trace): Grid => ({ h: t.symbol('h', { upTo: 9 }), w: t.symbol('w', { upTo: 11 }) });

  test('a model is at every size the model of those numbers', () => {
    const graph = trace(source, (t) => nativeResolution(t, symbols(t)));
    const params = (path: string, shape: readonly number[]) => source.read(path, [...shape]);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 11 }), (h, w) => {
        const inputs = new Map([['image', numbers(cellCount(h, w))]]);
        const fixed = trace(source, (t) => nativeResolution(t, { h, w }));
        const want = evaluate(fixed, { inputs, params }, { precision: 'f64' }).outputs;
        const feeds = { inputs, params, symbols: new Map(Object.entries({ h, w })) };
        const got = evaluate(graph, feeds, { precision: 'f64' }).outputs;
        expect(got).toEqual(want);
      }),
      { seed, numRuns: 25 },
    );
  });

  test('tokens alone are split by a symbol that another input gives', async () => {
    const graph = trace(source, (t) => {
      const { h, w } = symbols(t);
      const tokens = t.input('tokens', 'n c', { n: multiplySizes(h, w), c: 2 });
      return { y: rearrange(tokens, '(h w) c -> h w c', { h }).add(t.input('rows', 'h', { h })) };
    });
    const tokens = Float32Array.from({ length: 24 }, (_, i) => i);
    const runs = interpret(graph, source);
    // w is what the number of tokens and that of rows leave.
    const { y } = await runs.run({ tokens, rows: [0, 100, 200] });
    expect(y?.axes.map((axis) => axis.size)).toEqual([3, 4, 2]);
    expect([...(y?.data ?? [])]).toEqual([...tokens].map((x, i) => x + 100 * Math.floor(i / 8)));
    await expect(runs.run({ tokens, rows: [0, 0, 0, 0, 0] })).rejects.toThrow(/no integer value of the symbol 'w'/);
    await expect(runs.run({ tokens: { data: tokens, sizes: { n: 12 } }, rows: [0, 0, 0, 0, 0] })).rejects.toThrow(
      /no integer value of the symbol 'w' gives the size 12/,
    );
    await expect(runs.run({ tokens, rows: [0, 0, 0] }, { symbols: { h: 3, w: 5 } })).rejects.toThrow(
      /takes 30 elements, got 24/,
    );
  });

  test('a square is as large as its elements say', async () => {
    const graph = trace(source, (t) => {
      const { h } = symbols(t);
      return { y: rearrange(t.input('x', 'h w', { h, w: h }), 'h w -> n=(h w)').mul(2) };
    });
    expect((await interpret(graph, source).run({ x: new Array(49).fill(1) }))['y']?.axes).toEqual([
      { name: 'n', size: 49 },
    ]);
    await expect(interpret(graph, source).run({ x: new Array(50).fill(1) })).rejects.toThrow(
      /no integer value of the symbol 'h'/,
    );
  });

  test('a size that does not come out is refused in the words of the symbols', () => {
    const split = (sizes: (grid: Grid) => Readonly<Record<string, Size>>) => () =>
      trace(source, (t) => {
        const grid = symbols(t);
        const x = t.input('x', 'n', { n: multiplySizes(grid.h, grid.w) });
        return { y: rearrange(x as never, '(p q) -> p q', sizes(grid)) };
      });
    expect(split(({ h }) => ({ p: addSizes(h, 1) }))).toThrow(/axis 'n' of size h\*w does not divide by p:h\+1/);
    expect(split(({ h }) => ({ p: h, q: h }))).toThrow(/axis 'n' has size h\*w, its parts p:h q:h make h\*h/);
    expect(split(() => ({}))).toThrow(/the sizes of 'p' and 'q' are unknown/);
  });
});

describe('resize at sizes of a run', () => {
  const options = fc.oneof(
    fc.record({ mode: fc.constantFrom('bilinear' as const, 'bicubic' as const), antialias: fc.boolean() }),
    fc.constant({ mode: 'bilinear' as const, alignCorners: true }),
    fc.record({
      mode: fc.constantFrom('bilinear' as const, 'bicubic' as const),
      antialias: fc.boolean(),
      factors: fc.constant([0.6, 1.7] as const),
    }),
  );
  test('is that at numbers', () => {
    fc.assert(
      fc.property(
        options,
        fc.tuple(...[1, 2, 3, 4].map(() => fc.record({ size: fc.integer({ min: 1, max: 13 }), open: fc.boolean() }))),
        (choice, axes) => {
          const names = ['h', 'w', 'p', 'q'];
          const inputs = { x: numbers(2 * 2 * (axes[0]?.size ?? 0) * (axes[1]?.size ?? 0)) };
          const at = (isOpen: boolean) =>
            run(
              (t) => {
                const [h = 1, w = 1, height = 1, width = 1] = axes.map(({ size, open }, i) =>
                  isOpen && open ? t.symbol(names[i] ?? 'x', { upTo: 13 }) : size,
                );
                const chosen: ResizeOptions = { ...choice, height, width };
                return resize(t.input('x', 'b h w c', { b: 2, h, w, c: 2 }), chosen);
              },
              { inputs, symbols: Object.fromEntries(axes.map(({ size }, i) => [names[i] ?? 'x', size])) },
            );
          const [got, want] = [at(true), at(false)];
          expect(got.shape).toEqual(want.shape);
          got.data.forEach((value, i) => expect(Math.abs(value - (want.data[i] ?? NaN))).toBeLessThan(1e-12));
        },
      ),
      { seed, numRuns: 150 },
    );
  });

  test('refuses sizes that may be nothing, and those whose positions are not i32', () => {
    const at = (atLeast: number, upTo: number, to: number) => () =>
      trace(fixedParams({}), (t) => {
        const x = t.input('x', 'b h w c', { b: 1, h: t.symbol('h', { atLeast, upTo }), w: 4, c: 1 });
        return { y: resize(x, { height: to, width: 4, mode: 'bilinear' }) };
      });
    expect(at(0, 9, 4)).toThrow(/an image may have no pixels/);
    expect(at(1, 2 ** 20, 2 ** 10)).toThrow(/too large to compute positions with/);
    expect(at(1, 9, 4)).not.toThrow();
  });
});

test('an error of a run prints a symbolic size as a person writes it', async () => {
  const source = fixedParams({});
  const graph = trace(source, (t) => ({ y: t.input('x', 'n d', { n: t.symbol('n', { upTo: 8 }), d: 2 }).add(1) }));
  await expect(interpret(graph, source).run({ x: [1, 2, 3] })).rejects.toThrow('[n:n d:2]');
});
