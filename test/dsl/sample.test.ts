// Sampling between pixels and transposed convolution, against plain loops written from PyTorch's definitions.
import { describe, expect, test } from 'vitest';
import { convTranspose2d, fixedParams, gridSample, sampleBilinear } from '../../dsl/index.ts';
import { at, distance, numbers, run, table } from './run.ts';

const range = (n: number) => Array.from({ length: n }, (_, i) => i);

describe('gridSample', () => {
  const [b, h, w, c, q] = [2, 5, 7, 3, 9];
  const x = numbers(b * h * w * c);
  // Some points lie far outside, some on pixels.
  const grid = numbers(b * q * 2, 7).map((value, i) => (i % 5 === 0 ? Math.round(value) : value * 1.8));
  const pixel = at(x, [b, h, w, c]);
  const point = at(grid, [b, q, 2]);
  for (const alignCorners of [false, true])
    for (const padding of ['zeros', 'border'] as const)
      for (const isSymbolic of [false, true])
        test(`${padding}, corners ${alignCorners}, ${isSymbolic ? 'symbolic' : 'fixed'} sizes`, () => {
          const y = run(
            (t) => {
              const sizes = isSymbolic ? { h: t.symbol('h', { upTo: 9 }), w: t.symbol('w', { upTo: 9 }) } : { h, w };
              const image = t.input('x', 'b h w c', { b, c, ...sizes });
              return gridSample(image, t.input('g', 'b q xy', { b, q, xy: 2 }), { alignCorners, padding });
            },
            { inputs: { x, g: grid }, symbols: { h, w } },
          );
          const expected = table([b, q, c], (i, j, k) => {
            const place = (value: number, size: number): number => {
              const at = alignCorners ? ((value + 1) / 2) * (size - 1) : ((value + 1) * size - 1) / 2;
              return padding === 'border' ? Math.min(Math.max(at, 0), size - 1) : at;
            };
            const [column, row] = [place(point(i, j, 0), w), place(point(i, j, 1), h)];
            return range(h)
              .flatMap((r) => range(w).map((s) => [r, s] as const))
              .reduce(
                (sum, [r, s]) =>
                  sum + Math.max(0, 1 - Math.abs(r - row)) * Math.max(0, 1 - Math.abs(s - column)) * pixel(i, r, s, k),
                0,
              );
          });
          expect(y.axes).toBe('b q c');
          expect(distance(y.data, expected)).toBeLessThan(1e-12);
        });

  test('pixels are where they are counted', () => {
    const y = run(
      (t) =>
        sampleBilinear(
          t.input('x', 'b h w c', { b: 1, h: 2, w: 2, c: 1 }),
          t.input('r', 'q', { q: 2 }),
          t.input('s', 'q', { q: 2 }),
        ),
      { inputs: { x: [1, 2, 3, 4], r: [1, 0.5], s: [0, 0.5] } },
    );
    expect([y.axes, y.data]).toEqual(['q b c', [3, 2.5]]);
  });

  test('a pixel outside counts for nothing, whatever is read in its place', () => {
    const y = run(
      (t) => gridSample(t.input('x', 'b h w c', { b: 1, h: 1, w: 2, c: 1 }), t.input('g', 'q xy', { q: 1, xy: 2 })),
      { inputs: { x: [NaN, 4], g: [1, 0] } },
    );
    expect(y.data).toEqual([2]);
  });

  test('an axis of another size is refused', () => {
    expect(() =>
      run((t) =>
        gridSample(t.input('x', 'b h w c', { b: 1, h: 2, w: 2, c: 1 }), t.input('g', 'q xy', { q: 2, xy: 3 })),
      ),
    ).toThrow(/gridSample: axis 'xy' has 3 elements/);
  });
});

describe('convTranspose2d', () => {
  const [b, h, w, c, o] = [2, 5, 4, 4, 6];
  interface Case {
    readonly kernel: number;
    readonly stride?: number;
    readonly padding?: number;
    readonly outputPadding?: number;
    readonly dilation?: number;
    readonly groups?: number;
  }
  const cases: Readonly<Record<string, Case>> = {
    tiles: { kernel: 2, stride: 2 },
    'tiles by groups': { kernel: 2, stride: 2, groups: 2 },
    overlapping: { kernel: 3 },
    'one that undoes a strided convolution': { kernel: 3, stride: 2, padding: 1, outputPadding: 1 },
    dilated: { kernel: 3, stride: 2, padding: 2, dilation: 2 },
    grouped: { kernel: 3, stride: 3, padding: 1, groups: 2 },
    'with gaps': { kernel: 2, stride: 3, outputPadding: 2 },
    'with less than it got': { kernel: 1, padding: 1 },
  };
  test.each(Object.entries(cases))('%s', (_name, options) => {
    const { kernel: k, stride = 1, padding = 0, outputPadding = 0, dilation = 1, groups = 1 } = options;
    const x = numbers(b * h * w * c);
    // A checkpoint holds f32.
    const [weight, bias] = [numbers(c * (o / groups) * k * k, 3), numbers(o, 4)].map((values) =>
      values.map(Math.fround),
    );
    if (weight === undefined || bias === undefined) throw new Error('two parameters were made');
    const size = (n: number) => (n - 1) * stride - 2 * padding + dilation * (k - 1) + outputPadding + 1;
    const [pixel, filter] = [at(x, [b, h, w, c]), at(weight, [c, o / groups, k, k])];
    const expected = table([b, size(h), size(w), o], (i, row, column, out) => {
      const [ins, outs] = [c / groups, o / groups];
      let sum = bias[out] ?? NaN;
      for (const r of range(h))
        for (const s of range(w))
          for (const u of range(k))
            for (const v of range(k)) {
              if (r * stride - padding + u * dilation !== row || s * stride - padding + v * dilation !== column)
                continue;
              for (const j of range(ins)) {
                const channel = Math.floor(out / outs) * ins + j;
                sum += pixel(i, r, s, channel) * filter(channel, out % outs, u, v);
              }
            }
      return sum;
    });
    const y = run(
      (t) => convTranspose2d(t.params, t.input('x', 'b h w c', { b, h, w, c }), { out: 'c', size: o, ...options }),
      {
        inputs: { x },
        params: fixedParams({
          weight: { shape: [c, o / groups, k, k], values: weight },
          bias: { shape: [o], values: bias },
        }),
      },
    );
    expect(y.shape).toEqual([b, size(h), size(w), o]);
    expect(distance(y.data, expected)).toBeLessThan(1e-12);
  });

  test('an output padding as large as the stride is refused', () => {
    expect(() =>
      run((t) =>
        convTranspose2d(t.params, t.input('x', 'b h w c', { b, h, w, c }), {
          out: 'c',
          size: o,
          kernel: 2,
          stride: 2,
          outputPadding: 2,
        }),
      ),
    ).toThrow(/convTranspose2d: outputPadding is 2/);
  });
});
