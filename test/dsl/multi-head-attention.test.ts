// Multi-head attention with nn.MultiheadAttention's parameters, against plain loops written from its definition.
import { describe, expect, test } from 'vitest';
import { fixedParams, multiHeadAttention, trace, type Params, type Tensor } from '../../dsl/index.ts';
import { at, distance, numbers as exact, run, table } from './run.ts';

// As parameters are stored.
const numbers = (count: number, seed: number): readonly number[] => exact(count, seed).map(Math.fround);

const range = (n: number): readonly number[] => Array.from({ length: n }, (_, i) => i);
const [b, n, s, heads, width] = [2, 3, 5, 2, 6];

interface Case {
  readonly widths: readonly [key: number, value: number];
  readonly bias: boolean;
  readonly mask: 'none' | 'keys' | 'heads' | 'added' | 'causal';
}
const cases: readonly Case[] = [
  { widths: [6, 6], bias: true, mask: 'none' },
  { widths: [6, 6], bias: false, mask: 'keys' },
  { widths: [4, 7], bias: true, mask: 'added' },
  { widths: [4, 6], bias: false, mask: 'heads' },
  { widths: [6, 5], bias: true, mask: 'causal' },
];

describe('multiHeadAttention', () => {
  test.each(cases)('keys and values of widths $widths, bias $bias, mask $mask', ({ widths: [kd, vd], bias, mask }) => {
    const [q, k, v] = [numbers(b * n * width, 1), numbers(b * s * kd, 2), numbers(b * s * vd, 3)];
    const [wq, wk, wv] = [numbers(width * width, 4), numbers(width * kd, 5), numbers(width * vd, 6)];
    const [wo, bo, bi] = [numbers(width * width, 7), numbers(width, 8), numbers(3 * width, 9)];
    const added = numbers(n * s, 10);
    const packed = kd === width && vd === width;
    const one = (values: readonly number[], ...shape: number[]) => ({ shape, values: Float64Array.from(values) });
    const params = fixedParams({
      ...(packed
        ? { in_proj_weight: one([...wq, ...wk, ...wv], 3 * width, width) }
        : {
            q_proj_weight: one(wq, width, width),
            k_proj_weight: one(wk, width, kd),
            v_proj_weight: one(wv, width, vd),
          }),
      ...(bias ? { in_proj_bias: one(bi, 3 * width), 'out_proj.bias': one(bo, width) } : {}),
      'out_proj.weight': one(wo, width, width),
    });
    /** What a mask leaves of a score. */
    const kept = (score: number, i: number, h: number, q1: number, k1: number): number => {
      switch (mask) {
        case 'none':
          return score;
        case 'keys':
          return (i + k1) % 3 === 0 ? -Infinity : score;
        case 'heads':
          return (h + q1 + k1) % 2 === 0 ? score : -Infinity;
        case 'added':
          return score + (added[q1 * s + k1] ?? NaN);
        case 'causal':
          return k1 <= q1 + s - n ? score : -Infinity;
        default:
          return mask satisfies never;
      }
    };
    const y = run(
      (t) => {
        const query = t.input('q', 'b n c', { b, n, c: width });
        const [key, value] = [t.input('k', 'b s c', { b, s, c: kd }), t.input('v', 'b s c', { b, s, c: vd })];
        const shown = (
          axes: string,
          sizes: Readonly<Record<string, number>>,
          f: (...at: number[]) => boolean,
        ): Tensor =>
          t.constant<string, 'bool'>(
            table(Object.values(sizes), (...at) => Number(f(...at))),
            axes,
            sizes,
            'bool',
          );
        const masks = {
          none: undefined,
          causal: undefined,
          keys: shown('b s', { b, s }, (i, k1) => kept(0, i, 0, 0, k1) === 0),
          heads: shown('head n s', { head: heads, n, s }, (h, q1, k1) => kept(0, 0, h, q1, k1) === 0),
          added: t.constant(added, 'n s', { n, s }),
        };
        const options = { heads, key: 's', along: 'c', mask: masks[mask], causal: mask === 'causal', bias } as const;
        return multiHeadAttention(t.params, query, key, value, options);
      },
      { inputs: { q, k, v }, params },
    );
    const depth = width / heads;
    const project = (x: readonly number[], w: readonly number[], size: number, rows: number, third: number) => {
      const [element, weight] = [at(x, [b, rows, size]), at(w, [width, size])];
      return at(
        table(
          [b, rows, width],
          (i, row, o) =>
            range(size).reduce((sum, c) => sum + element(i, row, c) * weight(o, c), 0) +
            (bias ? (bi[third * width + o] ?? NaN) : 0),
        ),
        [b, rows, width],
      );
    };
    const [pq, pk, pv] = [project(q, wq, width, n, 0), project(k, wk, kd, s, 1), project(v, wv, vd, s, 2)];
    const read = at(
      table([b, n, width], (i, row, o) => {
        const h = Math.floor(o / depth);
        const scores = range(s).map((k1) => {
          const score = range(depth).reduce((sum, d) => sum + pq(i, row, h * depth + d) * pk(i, k1, h * depth + d), 0);
          return kept(score / Math.sqrt(depth), i, h, row, k1);
        });
        const weights = scores.map((score) => Math.exp(score - Math.max(...scores)));
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        return weights.reduce((sum, weight, k1) => sum + (weight / total) * pv(i, k1, o), 0);
      }),
      [b, n, width],
    );
    const out = at(wo, [width, width]);
    const want = table(
      [b, n, width],
      (i, row, o) =>
        range(width).reduce((sum, c) => sum + read(i, row, c) * out(o, c), 0) + (bias ? (bo[o] ?? NaN) : 0),
    );
    expect(y.axes).toBe('b n c');
    expect(distance(y.data, want)).toBeLessThan(1e-12);
  });

  test('says what does not fit', () => {
    const attend = (use: (p: Params, x: Tensor<'b n c', 'f32'>, keys: Tensor<'b s c', 'f32'>) => Tensor) => () =>
      trace(fixedParams({}), (t) => ({
        y: use(t.params, t.input('x', 'b n c', { b, n, c: width }), t.input('k', 'b s c', { b, s, c: width })),
      }));
    expect(attend((p, x, keys) => multiHeadAttention(p, x, keys, keys, { heads: 4, key: 's', along: 'c' }))).toThrow(
      /4 heads do not divide the 6 features/,
    );
    expect(attend((p, x) => multiHeadAttention(p, x, x, x, { heads: 2, key: 'n' as never, along: 'c' }))).toThrow(
      /in_proj_weight|key axis 'n'/,
    );
    expect(attend((p, x, keys) => multiHeadAttention(p, x, keys, keys, { heads: 2, key: 's', along: 'c' }))).toThrow(
      /in_proj_weight/,
    );
  });
});
