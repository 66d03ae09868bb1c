// Convolution, pooling and resizing against plain loops written from PyTorch's definitions.
import { describe, expect, test } from 'vitest';
import {
  adaptiveAvgPool2d,
  avgPool2d,
  conv2d,
  fixedParams,
  maxPool2d,
  order,
  pixelShuffle,
  pixelUnshuffle,
  randomParams,
  resize,
  trace,
  type Trace,
} from '../../dsl/index.ts';
import { at, distance, numbers, run, table } from './run.ts';

const range = (n: number) => Array.from({ length: n }, (_, i) => i);
const total = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

interface Case {
  readonly h: number;
  readonly w: number;
  readonly c: number;
  readonly o: number;
  readonly k: readonly [number, number];
  readonly stride?: number;
  readonly padding?: number;
  readonly groups?: number;
  readonly dilation?: number;
}

const cases: Readonly<Record<string, Case>> = {
  patches: { h: 6, w: 8, c: 3, o: 5, k: [2, 2], stride: 2 },
  'patches with a remainder': { h: 7, w: 8, c: 3, o: 5, k: [2, 2], stride: 2 },
  pointwise: { h: 3, w: 4, c: 3, o: 2, k: [1, 1] },
  padded: { h: 5, w: 4, c: 2, o: 3, k: [3, 3], padding: 1 },
  strided: { h: 7, w: 9, c: 2, o: 3, k: [3, 3], padding: 1, stride: 2 },
  dilated: { h: 9, w: 9, c: 2, o: 3, k: [3, 3], padding: 2, dilation: 2 },
  'a tall kernel': { h: 6, w: 5, c: 2, o: 3, k: [3, 1] },
  grouped: { h: 4, w: 4, c: 6, o: 9, k: [3, 3], padding: 1, groups: 3 },
  depthwise: { h: 5, w: 5, c: 4, o: 4, k: [3, 3], padding: 1, groups: 4 },
  'depthwise with a multiplier': { h: 5, w: 5, c: 3, o: 6, k: [3, 3], groups: 3 },
};

describe('conv2d', () => {
  test.each(Object.entries(cases))(
    '%s',
    (_name, { h, w, c, o, k, stride = 1, padding = 0, groups = 1, dilation = 1 }) => {
      const [kh, kw] = k;
      const [xs, ws, bs] = [
        numbers(2 * h * w * c),
        numbers(o * (c / groups) * kh * kw, 2).map(Math.fround),
        numbers(o, 3).map(Math.fround),
      ];
      const params = fixedParams({
        'conv.weight': { shape: [o, c / groups, kh, kw], values: ws },
        'conv.bias': { shape: [o], values: bs },
      });
      const y = run(
        (t) =>
          conv2d(t.params.at('conv'), t.input('x', 'b h w c', { b: 2, h, w, c }), {
            out: 'c',
            kernel: k,
            stride,
            padding,
            groups,
            dilation,
            size: o,
          }),
        { inputs: { x: xs }, params },
      );
      const [x, weight] = [at(xs, [2, h, w, c]), at(ws, [o, c / groups, kh, kw])];
      const [oh, ow] = [
        Math.floor((h + 2 * padding - dilation * (kh - 1) - 1) / stride) + 1,
        Math.floor((w + 2 * padding - dilation * (kw - 1) - 1) / stride) + 1,
      ];
      expect([y.axes, y.shape]).toEqual(['b h w c', [2, oh, ow, o]]);
      const inside = (b: number, i: number, j: number, ch: number) =>
        i < 0 || j < 0 || i >= h || j >= w ? 0 : x(b, i, j, ch);
      const expected = table([2, oh, ow, o], (b = 0, i = 0, j = 0, out = 0) => {
        const first = Math.floor(out / (o / groups)) * (c / groups);
        return (
          (bs[out] ?? 0) +
          total(
            range(c / groups).flatMap((ch) =>
              range(kh).flatMap((a) =>
                range(kw).map(
                  (e) =>
                    inside(b, i * stride - padding + a * dilation, j * stride - padding + e * dilation, first + ch) *
                    weight(out, ch, a, e),
                ),
              ),
            ),
          )
        );
      });
      expect(distance(y.data, expected)).toBeLessThan(1e-12);
    },
  );

  test('patches are a one-to-one view, depthwise is a reduction', () => {
    const kinds = (options: Parameters<typeof conv2d>[2]) =>
      order(
        trace(randomParams(1), (t) => ({
          y: conv2d(t.params, t.input('x', 'b h w c', { b: 1, h: 8, w: 8, c: 4 }), options),
        })),
      ).map((node) => node.op.name);
    expect(kinds({ out: 'o', size: 4, kernel: 4, stride: 4 })).not.toContain('window');
    expect(kinds({ out: 'o', size: 4, kernel: 3, groups: 4 })).not.toContain('contract');
  });

  test('over a symbolic height', () => {
    const build = (t: Trace) =>
      conv2d(
        t.params.at('conv'),
        t.input('x', 'b h w c', { b: 1, h: t.symbol('h', { upTo: 9, atLeast: 1 }), w: 3, c: 1 }),
        { out: 'c', size: 1, kernel: 3, padding: 1, bias: false },
      );
    const params = fixedParams({ 'conv.weight': { shape: [1, 1, 3, 3], values: [0, 0, 0, 0, 1, 0, 0, 0, 0] } });
    for (const h of [1, 2, 9])
      expect(run(build, { inputs: { x: numbers(h * 3) }, symbols: { h }, params }).data).toEqual(numbers(h * 3));
  });
});

describe('pooling', () => {
  const [h, w] = [7, 6];
  const data = numbers(h * w * 2);
  const x = at(data, [1, h, w, 2]);
  const input = (t: Trace) => t.input('x', 'b h w c', { b: 1, h, w, c: 2 });
  const windowed = (k: number, s: number, p: number, f: (values: readonly number[]) => number) => {
    const [oh, ow] = [Math.floor((h + 2 * p - k) / s) + 1, Math.floor((w + 2 * p - k) / s) + 1];
    return table([1, oh, ow, 2], (_b = 0, i = 0, j = 0, c = 0) =>
      f(
        range(k).flatMap((a) =>
          range(k).flatMap((e) => {
            const [r, q] = [i * s - p + a, j * s - p + e];
            return r < 0 || q < 0 || r >= h || q >= w ? [] : [x(0, r, q, c)];
          }),
        ),
      ),
    );
  };
  test('maxPool2d: padding never wins', () => {
    const low = run((t) => maxPool2d(input(t).sub(10), { kernel: 3, stride: 2, padding: 1 }), { inputs: { x: data } });
    expect(
      distance(
        low.data,
        windowed(3, 2, 1, (v) => Math.max(...v) - 10),
      ),
    ).toBeLessThan(1e-12);
    expect(
      distance(
        run((t) => maxPool2d(input(t), { kernel: 2 }), { inputs: { x: data } }).data,
        windowed(2, 2, 0, (v) => Math.max(...v)),
      ),
    ).toBe(0);
  });
  test('maxPool2d: nor where the elements are minus infinity', () => {
    const y = run((t) => maxPool2d(input(t), { kernel: 3, stride: 2, padding: 1 }), {
      inputs: { x: data.map(() => -Infinity) },
    });
    expect(new Set(y.data)).toEqual(new Set([-Infinity]));
  });
  test('avgPool2d, padding counted and not', () => {
    expect(
      distance(
        run((t) => avgPool2d(input(t), { kernel: 3, stride: 2, padding: 1 }), { inputs: { x: data } }).data,
        windowed(3, 2, 1, (v) => total(v) / 9),
      ),
    ).toBeLessThan(1e-12);
    expect(
      distance(
        run((t) => avgPool2d(input(t), { kernel: 3, stride: 2, padding: 1, countPadding: false }), {
          inputs: { x: data },
        }).data,
        windowed(3, 2, 1, (v) => total(v) / v.length),
      ),
    ).toBeLessThan(1e-12);
  });
  test.each([
    [7, 6],
    [3, 3],
    [1, 1],
    [4, 5],
    [7, 4],
    [9, 8],
  ])('adaptiveAvgPool2d to %i × %i', (height, width) => {
    const y = run((t) => adaptiveAvgPool2d(input(t), { height, width }), { inputs: { x: data } });
    const bin = (i: number, size: number, out: number) =>
      range(size).filter((r) => r >= Math.floor((i * size) / out) && r < Math.ceil(((i + 1) * size) / out));
    const mean = (values: readonly number[]) => total(values) / values.length;
    expect(
      distance(
        y.data,
        table([1, height, width, 2], (_b = 0, i = 0, j = 0, c = 0) =>
          mean(bin(i, h, height).flatMap((r) => bin(j, w, width).map((q) => x(0, r, q, c)))),
        ),
      ),
    ).toBeLessThan(1e-7);
  });
});

test('pixelShuffle as PyTorch orders channels, and its inverse', () => {
  const data = numbers(2 * 3 * 8);
  const x = at(data, [1, 2, 3, 8]);
  const y = run((t) => pixelShuffle(t.input('x', 'b h w c', { b: 1, h: 2, w: 3, c: 8 }), 2), { inputs: { x: data } });
  expect(y.shape).toEqual([1, 4, 6, 2]);
  expect(y.data).toEqual(
    table([1, 4, 6, 2], (_b = 0, i = 0, j = 0, c = 0) =>
      x(0, Math.floor(i / 2), Math.floor(j / 2), c * 4 + (i % 2) * 2 + (j % 2)),
    ),
  );
  expect(
    run((t) => pixelUnshuffle(pixelShuffle(t.input('x', 'b h w c', { b: 1, h: 2, w: 3, c: 8 }), 2), 2), {
      inputs: { x: data },
    }).data,
  ).toEqual(data);
});

describe('resize', () => {
  /** One axis by the definitions: sample positions and a filter, without any matrix. */
  const sample = (
    line: readonly number[],
    to: number,
    mode: 'bilinear' | 'bicubic',
    antialias: boolean,
    factor?: number,
  ): readonly number[] => {
    const from = line.length;
    const scale = factor === undefined ? from / to : 1 / factor;
    const clamped = (i: number) => line[Math.min(from - 1, Math.max(0, i))] ?? NaN;
    const keys = (x: number, a: number) =>
      Math.abs(x) <= 1
        ? (a + 2) * Math.abs(x) ** 3 - (a + 3) * x * x + 1
        : Math.abs(x) < 2
          ? a * Math.abs(x) ** 3 - 5 * a * x * x + 8 * a * Math.abs(x) - 4 * a
          : 0;
    const triangle = (x: number) => Math.max(0, 1 - Math.abs(x));
    return range(to).map((o) => {
      const centre = (o + 0.5) * scale;
      if (antialias) {
        const wide = Math.max(1, scale);
        const filter = (i: number) =>
          mode === 'bilinear' ? triangle((i + 0.5 - centre) / wide) : keys((i + 0.5 - centre) / wide, -0.5);
        return total(line.map((v, i) => v * filter(i))) / total(line.map((_, i) => filter(i)));
      }
      const position = mode === 'bilinear' ? Math.max(0, centre - 0.5) : centre - 0.5;
      const near = range(from + 8).map((i) => i - 4);
      return total(
        near.map((i) => clamped(i) * (mode === 'bilinear' ? triangle(position - i) : keys(position - i, -0.75))),
      );
    });
  };
  const [h, w] = [6, 9];
  const data = numbers(h * w);
  const rows = range(h).map((i) => data.slice(i * w, i * w + w));
  const cases2 = (
    [
      [12, 18],
      [3, 4],
      [5, 20],
      [1, 1],
      [6, 9],
      [7, 9],
    ] as const
  ).flatMap(([a, b]) =>
    (['bilinear', 'bicubic'] as const).flatMap((mode) =>
      [true, false].map((antialias) => [a, b, mode, antialias] as const),
    ),
  );
  test.each(cases2)('to %i × %i, %s, antialias %s', (height, width, mode, antialias) => {
    const y = run((t) => resize(t.input('x', 'b h w c', { b: 1, h, w, c: 1 }), { height, width, mode, antialias }), {
      inputs: { x: data },
    });
    const across = rows.map((row) => sample(row, width, mode, antialias));
    const columns = range(width).map((j) =>
      sample(
        across.map((row) => row[j] ?? NaN),
        height,
        mode,
        antialias,
      ),
    );
    expect(y.shape).toEqual([1, height, width, 1]);
    expect(
      distance(
        y.data,
        table([height, width], (i = 0, j = 0) => columns[j]?.[i] ?? NaN),
      ),
    ).toBeLessThan(1e-12);
  });

  test('by factors: positions from the given ratio, not from the sizes', () => {
    const line = numbers(5);
    const y = run(
      (t) =>
        resize(t.input('x', 'b h w c', { b: 1, h: 1, w: 5, c: 1 }), {
          height: 1,
          width: 8,
          mode: 'bicubic',
          factors: [1, 8.1 / 5],
        }),
      { inputs: { x: line } },
    );
    expect(distance(y.data, sample(line, 8, 'bicubic', false, 8.1 / 5))).toBeLessThan(1e-12);
  });

  // torch.nn.functional.interpolate(torch.arange(4.).view(1, 1, 1, 4), size=(1, 8), mode='bilinear') and the middle of mode='bicubic' (weights of a = -0.75 at 1/4: -0.10546875, 0.87890625, 0.26171875, -0.03515625).
  test('the weights that PyTorch documents', () => {
    const line = (values: readonly number[], mode: 'bilinear' | 'bicubic') =>
      run((t) => resize(t.input('x', 'b h w c', { b: 1, h: 1, w: 4, c: 1 }), { height: 1, width: 8, mode }), {
        inputs: { x: values },
      }).data;
    expect(line([0, 1, 2, 3], 'bilinear')).toEqual([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]);
    expect(
      distance(
        [0, 1, 2, 3].map(
          (i) =>
            line(
              [0, 1, 2, 3].map((j) => Number(i === j)),
              'bicubic',
            )[3] ?? NaN,
        ),
        [-0.10546875, 0.87890625, 0.26171875, -0.03515625],
      ),
    ).toBeLessThan(1e-15);
  });

  test('of f16: weights and sums in f32', () => {
    const nodes = order(
      trace(randomParams(1), (t) => ({
        y: resize(t.input('x', 'b h w c', { b: 1, h: 2, w: 2, c: 1 }, 'f16'), {
          height: 4,
          width: 4,
          mode: 'bilinear',
        }),
      })),
    );
    expect(nodes.filter((node) => node.op.kind === 'contract').map((node) => node.type.dtype)).toEqual(['f32', 'f32']);
    expect(nodes.at(-1)?.type.dtype).toBe('f16');
  });
});
