// One table of patterns, read twice: by the types (here, when tsc checks this file) and by the grammar (when the test runs). They must agree.
import { describe, expect, test } from 'vitest';
import { einsum, OpabiniaError, randomParams, rearrange, reduce, repeat, trace, type Tensor } from '../../dsl/index.ts';
import type * as Types from '../../dsl/axis/pattern-types.ts';

type Row = readonly [call: 'rearrange' | 'repeat' | 'reduce' | 'einsum', axes: string, pattern: string, gives: string];

// `gives` is the axes of the result, or `no` when the pattern must be refused.
const rows = [
  ['rearrange', 'b n d', 'b n d -> b n d', 'b n d'],
  ['rearrange', 'b n d', 'b n d->d b n', 'd b n'],
  ['rearrange', 'b n d', '  b  n   d  ->  n  b d ', 'n b d'],
  ['rearrange', 'b n d', 'b (h w) d -> b h w d', 'b h w d'],
  ['rearrange', 'b n d', 'b n=(h w) d -> b h w d', 'b h w d'],
  ['rearrange', 'b n d', 'b ( h w ) d -> b w h d', 'b w h d'],
  ['rearrange', 'b h w c', 'b h w c -> b n=(h w) c', 'b n c'],
  ['rearrange', 'b h w c', 'b (y i) (x j) c -> b q=(y x) t=(i j) c', 'b q t c'],
  ['rearrange', 'b h w c', 'b h w c -> all=(b h w c)', 'all'],
  ['rearrange', 'b n', 'b n=(m) -> b m', 'b m'],
  ['rearrange', 'b n', 'b n -> b t=(n)', 'b t'],
  ['rearrange', 'b n', 'b n -> b one=() n', 'b one n'],
  ['rearrange', 'b u n', 'b () n -> b n', 'b n'],
  ['rearrange', 'b n', 'b (k n) -> b n k', 'b n k'],
  ['rearrange', 'b n', 'b (k m) -> b n=(m k)', 'b n'],
  ['rearrange', '', ' -> ', ''],
  ['rearrange', '', ' -> a=()', 'a'],
  ['rearrange', 'b_1 n2', 'b_1 n2 -> n2 b_1', 'n2 b_1'],
  ['rearrange', 'b n d', 'b d n -> b n d', 'no'],
  ['rearrange', 'b n d', 'b n -> n b', 'no'],
  ['rearrange', 'b n d', 'b n d e -> b n d e', 'no'],
  ['rearrange', 'b n d', 'b n d -> b n', 'no'],
  ['rearrange', 'b n d', 'b n d -> b n d e', 'no'],
  ['rearrange', 'b n d', 'b n d', 'no'],
  ['rearrange', 'b n d', 'b n n -> b n n', 'no'],
  ['rearrange', 'b n d', 'b n d -> b n d d', 'no'],
  ['rearrange', 'b n d', 'b (n h) d -> b n=(h h) n d', 'no'],
  ['rearrange', 'b n d', 'b (h w d -> b h w d', 'no'],
  ['rearrange', 'b n d', 'b m=(h w) d -> b h w d', 'no'],
  ['rearrange', 'b n d', 'b n d -> b (n d)', 'no'],
  ['rearrange', 'b n d', 'b n d -> n=(b n) n=(d)', 'no'],
  ['rearrange', 'b n d', 'b ((h w) k) d -> b h w k d', 'no'],
  ['rearrange', 'b n d', 'b(h w) d -> b h w d', 'no'],
  ['rearrange', 'b n d', 'b (h w)d -> b h w d', 'no'],
  ['rearrange', 'b n d', '(b h) n (h d) -> b h n d', 'no'],
  ['rearrange', 'b n d', 'b, n d -> b n d', 'no'],
  ['repeat', 'c', 'c -> b q c', 'b q c'],
  ['repeat', 'c', 'c -> n=(c r)', 'n'],
  ['repeat', 'n d', 'n d -> (n r) d', 'no'],
  ['repeat', 'n d', 'n d -> b n', 'no'],
  ['repeat', 'n d', 'd n -> b d n', 'no'],
  ['repeat', 'n d', 'n d -> n r r d', 'no'],
  ['reduce', 'b n c', 'b n c -> b c', 'b c'],
  ['reduce', 'b n c', 'b n c -> c b', 'c b'],
  ['reduce', 'b n c', 'b n c -> ', ''],
  ['reduce', 'b n c', 'b (m k) c -> b m c', 'b m c'],
  ['reduce', 'b h w c', 'b h w c -> b n=(w h)', 'b n'],
  ['reduce', 'b n c', 'b n c -> b d', 'no'],
  ['reduce', 'b n c', 'b c -> b', 'no'],
  ['reduce', 'b n c', 'b n c -> b b', 'no'],
  ['einsum', 'b n i|o i', 'b n i, o i -> b n o', 'b n o'],
  ['einsum', 'b n i|o i', 'b n i,o i->o b n', 'o b n'],
  ['einsum', 'b n i|o i', 'b n i, o i -> b i', 'b i'],
  ['einsum', 'b n i|o i', 'b n i, o i -> ', ''],
  ['einsum', 'i|j', 'i, j -> i j', 'i j'],
  ['einsum', 'b n i|o i', 'b n i, i o -> b n o', 'no'],
  ['einsum', 'b n i|o i', 'b n d, o d -> b n o', 'no'],
  ['einsum', 'b n i|o i', 'b n i, o i -> b n p', 'no'],
  ['einsum', 'b n i|o i', 'b n i, o i -> b b n o', 'no'],
  ['einsum', 'b n i|o i', 'b n i -> b n', 'no'],
  ['einsum', 'b n i|o i', 'b n i, o i', 'no'],
  ['einsum', 'b n i|o i', 'b n (i), o i -> b n o', 'no'],
] as const satisfies readonly Row[];

type Verdict<R extends Row> = unknown extends Check<R> ? Types.Right<R[2]> : 'no';
type Check<R extends Row> = R[0] extends 'rearrange'
  ? Types.Rearrange<R[2], R[1]>
  : R[0] extends 'repeat'
    ? Types.Repeat<R[2], R[1]>
    : R[0] extends 'reduce'
      ? Types.Reduce<R[2], R[1]>
      : R[1] extends `${infer A}|${infer B}`
        ? Types.Einsum<R[2], A, B>
        : never;

type Agrees<R extends Row, V> = V extends R[3] ? (R[3] extends V ? never : [R, V]) : [R, V];
type Disagreements<T extends readonly Row[]> = { readonly [K in keyof T]: Agrees<T[K], Verdict<T[K]>> }[number];

// Where the types say something else than the table, `true` is not a value of this type, and tsc names the row and the verdict.
const agreed: [Disagreements<typeof rows>] extends [never] ? true : Disagreements<typeof rows> = true;

function runtimeVerdict([call, axes, pattern]: Row): string {
  const [first = '', second = ''] = axes.split('|');
  let verdict = 'no';
  try {
    trace(randomParams(1), (t) => {
      const names = (list: string) => list.split(' ').filter((name) => name !== '');
      // Eight is divisible often enough; parts that the pattern adds get two, all but one of a group.
      const make = (name: string, list: string): Tensor =>
        t.input<string>(name, list, Object.fromEntries(names(list).map((axis) => [axis, axis === 'u' ? 1 : 8])));
      const x = make('x', first);
      const known = new Set(names(first));
      const [left = '', right = ''] = pattern.split('->');
      const inner = [...left.matchAll(/\(([^()]*)\)/g)].flatMap((group) => names(group[1] ?? '').slice(1));
      const fresh =
        call === 'repeat' ? names(right.replaceAll(/[a-z]+=\(|[()]/g, ' ')).filter((name) => !known.has(name)) : [];
      const sizes = Object.fromEntries([...inner, ...fresh].map((name) => [name, 2]));
      const y: Tensor =
        call === 'rearrange'
          ? rearrange<string, string, 'f32'>(x as Tensor<string, 'f32'>, pattern, sizes)
          : call === 'repeat'
            ? repeat<string, string, 'f32'>(x as Tensor<string, 'f32'>, pattern, sizes)
            : call === 'reduce'
              ? reduce<string, string, 'f32'>(x as Tensor<string, 'f32'>, pattern, 'sum', sizes)
              : einsum<string, string, string, 'f32', 'f32'>(
                  x as Tensor<string, 'f32'>,
                  make('y', second) as Tensor<string, 'f32'>,
                  pattern,
                );
      verdict = y.axes.map((axis) => axis.name).join(' ');
      return { y };
    });
  } catch (error) {
    if (!(error instanceof OpabiniaError)) throw error;
  }
  return verdict;
}

describe('the two grammars agree', () => {
  test('in types', () => {
    expect(agreed).toBe(true);
  });
  test.each(rows)('%s [%s] %s gives %s', (...row) => {
    expect(runtimeVerdict(row)).toBe(row[3]);
  });
});
