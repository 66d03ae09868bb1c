// For each rule a generator of left sides: graphs at which the rule must fire, over all shapes it claims.
import { axisOf, type Axis, type Size } from '../../dsl/axis/axis.ts';
import { Builder, type Node } from '../../dsl/graph/graph.ts';
import type { Attrs, DType, Op } from '../../dsl/graph/op.ts';
import { contract } from '../../dsl/ops/contract.ts';
import { reduceMax, reduceMin, sum } from '../../dsl/ops/reduce.ts';
import { gather } from '../../dsl/ops/gather.ts';
import { concat } from '../../dsl/ops/join.ts';
import { mapOp } from '../../dsl/ops/map/index.ts';
import { constant, input, param, typeAttrs } from '../../dsl/ops/source.ts';
import { broadcast, flip, pad, rearrange, slice, window } from '../../dsl/ops/view.ts';
import { absorbedAttention } from './absorption-cases.ts';
import { outerProduct, readTwice } from './association-cases.ts';
import { resampledProduct } from './resampling-cases.ts';
import { weightedSum } from './weighted-sum-cases.ts';
import { numbersFor } from './judge.ts';

/** Makes small nodes with random sizes; the same axis name has the same size throughout. */
export class Sketch {
  readonly builder = new Builder();
  readonly #below: (count: number) => number;
  readonly #sizes = new Map<string, number>();
  #count = 0;

  constructor(below: (count: number) => number) {
    this.#below = below;
  }

  below(count: number): number {
    return this.#below(count);
  }
  of<T>(...choices: readonly [T, ...T[]]): T {
    return choices[this.#below(choices.length)] ?? choices[0];
  }
  size(name: string): number {
    const known = this.#sizes.get(name) ?? 1 + this.#below(4);
    this.#sizes.set(name, known);
    return known;
  }
  axes(text: string): readonly Axis[] {
    return text
      .split(' ')
      .filter((name) => name !== '')
      .map((name) => ({ name, size: this.size(name) }));
  }
  /** The words in a random order. */
  shuffled(text: string): string {
    const words = text.split(' ').filter((name) => name !== '');
    for (let i = words.length - 1; i > 0; i--) {
      const j = this.#below(i + 1);
      [words[i], words[j]] = [words[j] ?? '', words[i] ?? ''];
    }
    return words.join(' ');
  }

  make(op: Op, inputs: readonly Node[], attrs: Attrs = {}): Node {
    return this.builder.make(op, inputs, attrs);
  }
  map(name: string, ...inputs: readonly Node[]): Node {
    return this.make(mapOp(name), inputs);
  }
  input(text: string, dtype: DType = 'f32'): Node {
    return this.make(input, [], { ...typeAttrs(this.axes(text), dtype), name: `x${this.#count++}` });
  }
  sized(axes: readonly Axis[], dtype: DType = 'f32'): Node {
    return this.make(input, [], { ...typeAttrs(axes, dtype), name: `x${this.#count++}` });
  }
  param(text: string, dtype: DType = 'f32'): Node {
    return this.make(param, [], { ...typeAttrs(this.axes(text), dtype), name: `p${this.#count++}` });
  }
  scalar(value: number, dtype: DType = 'f32'): Node {
    return this.make(constant, [], { ...typeAttrs([], dtype), values: Float64Array.of(value) });
  }
  /** A number, alone or broadcast. */
  lit(value: number, text: string, dtype: DType = 'f32'): Node {
    const scalar = this.scalar(value, dtype);
    return this.of(true, false) ? scalar : this.wide(scalar, text);
  }
  constant(text: string): Node {
    const axes = this.axes(text);
    return this.make(constant, [], {
      ...typeAttrs(axes, 'f32'),
      values: numbersFor(
        `c${this.#count++}`,
        axes.reduce((n, axis) => n * Number(axis.size), 1),
      ),
    });
  }
  wide(x: Node, text: string): Node {
    return this.make(broadcast, [x], {
      axes: this.axes(text)
        .map((axis) => axisOf(x.type.axes, axis.name) ?? axis)
        .map(({ name, size }) => ({ name, size })),
    });
  }
  product(a: Node, b: Node, out: string): Node {
    return this.make(contract, [a, b], { axes: out.split(' ').filter((name) => name !== '') });
  }
  slice(x: Node, axis: string, start: Size, size: Size, step = 1): Node {
    return this.make(slice, [x], { axis, start, size, step });
  }
  /** A random range of an axis. */
  cut(x: Node, axis: string): Node {
    const whole = Number(axisOf(x.type.axes, axis)?.size ?? 1);
    const start = this.#below(whole);
    const step = 1 + this.#below(2);
    return this.slice(x, axis, start, 1 + this.#below(Math.ceil((whole - start) / step)), step);
  }
  /** Splits by '(a b)', as in einops, on both sides. */
  rearrange(x: Node, pattern: string): Node {
    const [left = '', right = ''] = pattern.split('->');
    const side = (text: string) =>
      [...text.matchAll(/(\w+=)?\(([^)]*)\)|(\w+)/g)].map((m) => ({
        name: m[1]?.slice(0, -1) ?? m[3] ?? m[2]?.replaceAll(' ', '') ?? '',
        parts: (m[3] ?? m[2] ?? '').split(' ').filter((p) => p !== ''),
      }));
    const split = side(left).map((item) => item.parts);
    const sizes: Record<string, Size> = {};
    split.forEach((parts, i) => {
      const whole = x.type.axes[i]?.size ?? 1;
      const [only] = parts;
      if (parts.length === 1 && only !== undefined) sizes[only] = whole;
      else for (const part of parts) sizes[part] = this.size(part);
    });
    return this.make(rearrange, [x], { split, merge: side(right), sizes });
  }
  concat(parts: readonly Node[], axis: string): Node {
    return this.make(concat, parts, { axis });
  }
  pad(x: Node, axis: string, before: number, after: number, value = 0): Node {
    return this.make(pad, [x], { axis, before, after, value });
  }
  flip(x: Node, axis: string): Node {
    return this.make(flip, [x], { axis });
  }
  window(x: Node, axis: string, into: readonly [string, string], size: number): Node {
    return this.make(window, [x], { axis, into, size, stride: 1, dilation: 1 });
  }
  reduction(x: Node, axes: string): Node {
    return this.make(this.of(sum, reduceMax, reduceMin), [x], { axes: axes.split(' ') });
  }
  gather(x: Node, index: Node, axis: string): Node {
    return this.make(gather, [x, index], { axis });
  }
  cast(x: Node, to: DType): Node {
    return this.make(mapOp('cast'), [x], { to });
  }
  /** An axis that is a product of named parts. */
  merged(name: string, parts: string): Axis {
    return { name, size: parts.split(' ').reduce((n, part) => n * this.size(part), 1) };
  }
}

/** Nodes at each of which the rule must fire. Other outputs may be there to be readers. */
export interface RuleCase {
  readonly left: Node;
  readonly others?: readonly Node[];
}

/** A matrix that is worth it, and a rank. */
function lowRank(s: Sketch): readonly [o: Axis, i: Axis, r: Axis] {
  const rank = 1 + s.below(2);
  const side = (name: string): Axis => ({ name, size: 8 * rank + s.below(4) });
  return [side('o'), side('i'), { name: 'r', size: rank }];
}

const namesOf = (x: Node): string => x.type.axes.map(({ name }) => name).join(' ');

const axes3 = (s: Sketch): string => s.of('', 'a', 'a b', 'a b c');

/** Rule name → left side. */
export const ruleCases: Readonly<Record<string, (s: Sketch) => Node | RuleCase>> = {
  // ---- absorption
  'projection through attention': absorbedAttention,

  // ---- association
  'projection of a gradient': readTwice,
  'product of three factors': outerProduct,

  // ---- low rank
  'product of a matrix and its addition of low rank': (s) => {
    const [o, i, r] = lowRank(s);
    const additions = s.product(s.sized([o, r]), s.sized([i, r]), s.shuffled('o i'));
    const scaled = s.of(additions, s.map('mul', additions, s.scalar(0.5)));
    const frozen = s.make(param, [], { ...typeAttrs(scaled.type.axes, 'f32'), name: 'frozen' });
    const whole = s.of(s.map('add', frozen, scaled), s.map('add', scaled, frozen));
    // Forward, and towards the rows.
    const [along, left] = s.of([i, 'o'] as const, [o, 'i'] as const);
    const x = s.sized([...s.axes('n'), along, ...s.axes('m')]);
    const seen = s.of(
      whole,
      s.rearrange(whole, `${namesOf(whole)} -> ${namesOf(whole).split(' ').reverse().join(' ')}`),
    );
    return s.of(s.product(x, seen, s.shuffled(`n m ${left}`)), s.product(seen, x, s.shuffled(`m n ${left}`)));
  },
  'gradient of a factor of low rank': (s) => {
    const [o, i, r] = lowRank(s);
    const [y, x] = [s.sized([...s.axes('n m'), o]), s.sized([i, ...s.axes('m n')])];
    const matrix = s.product(...s.of<[Node, Node]>([y, x], [x, y]), s.shuffled('o i'));
    const [along, left] = s.of([i, 'o'] as const, [o, 'i'] as const);
    const factor = s.make(param, [], { ...typeAttrs(s.of([along, r], [r, along]), 'f32'), name: 'factor' });
    const other = s.rearrange(matrix, `${namesOf(matrix)} -> ${namesOf(matrix).split(' ').reverse().join(' ')}`);
    const shown = s.of(matrix, other);
    const seen = s.of(shown, s.map('mul', shown, s.scalar(0.5)));
    return s.of(s.product(seen, factor, s.shuffled(`${left} r`)), s.product(factor, seen, s.shuffled(`${left} r`)));
  },

  // ---- constants
  'map of constants': (s) =>
    s.of(
      () => s.map(s.of('add', 'sub', 'mul', 'max', 'lt'), s.constant('a b'), s.constant(s.of('', 'a', 'b', 'b a'))),
      () => s.map('where', s.scalar(s.of(0, 1), 'bool'), s.constant('a b'), s.constant(s.of('b', 'b a'))),
      () => s.map(s.of('exp', 'tanh', 'neg', 'floor'), s.constant(axes3(s))),
    )(),
  'view of a constant': (s) =>
    s.of(
      () => s.cut(s.constant('a b'), 'b'),
      () => s.rearrange(s.constant('a b c'), 'a b c -> b n=(c a)'),
      () => s.flip(s.constant('a b'), 'a'),
      () => s.pad(s.constant('a b'), 'a', 2, 1, 0.5),
    )(),
  'concat of constants': (s) => s.concat([s.constant('a b'), s.constant('a b'), s.constant('a b')], s.of('a', 'b')),
  'uniform constant': (s) =>
    s.make(constant, [], {
      ...typeAttrs(s.axes('a b'), 'f32'),
      values: new Float64Array(s.size('a') * s.size('b')).fill(s.of(0, 1, -3)),
    }),
  'x*1': (s) => {
    const x = s.input('a b');
    const one = s.lit(1, 'a b');
    return s.of(s.map('mul', x, one), s.map('mul', one, x), s.map('mul', s.wide(s.scalar(1), 'a b c'), x));
  },
  'x+0': (s) => {
    const x = s.input('a b');
    return s.of(s.map('add', x, s.lit(0, 'a b')), s.map('add', s.wide(s.scalar(0), 'c a b'), x));
  },
  'x-0': (s) => s.map('sub', s.input('a b'), s.lit(0, s.of('a', 'a b'))),
  'x/1': (s) => s.map('div', s.input('a b'), s.lit(1, 'a')),
  'x^1': (s) => s.map('pow', s.input('a b'), s.lit(1, 'b')),
  '--x': (s) => s.map('neg', s.map('neg', s.of(s.input('a b'), s.input('a b', 'i32')))),
  'not not x': (s) => s.map('not', s.map('not', s.input('a b', 'bool'))),
  'max(x, x)': (s) => {
    const x = s.input('a b');
    return s.map('max', x, x);
  },
  'min(x, x)': (s) => {
    const x = s.input('a b');
    return s.map('min', x, x);
  },
  'where(m, x, x)': (s) => {
    const x = s.input('a b');
    return s.map('where', s.input(s.of('a', 'a b', 'a b c'), 'bool'), x, x);
  },
  'where(true, x, y)': (s) => s.map('where', s.lit(1, 'a b', 'bool'), s.input(s.of('a', 'a b')), s.input('a b')),
  'where(false, y, x)': (s) => s.map('where', s.lit(0, 'a b', 'bool'), s.input('a b'), s.input(s.of('b', 'a b'))),
  'x+(-y)': (s) => {
    const [x, y] = [s.input('a b'), s.map('neg', s.input('a b'))];
    return s.of(s.map('add', x, y), s.map('add', x, s.map('neg', s.input('b'))));
  },
  '(x·c)·d': (s) => s.map('mul', s.map('mul', s.input('a b'), s.lit(0.75, 'a b')), s.lit(-3, 'a b')),
  '(x+c)+d': (s) => s.map('add', s.map('add', s.lit(0.75, 'a b'), s.input('a b')), s.lit(-3, 'a b')),
  'cast to the same': (s) => s.cast(s.input('a b', s.of('f32', 'i32')), 'f32'),
  'cast of a widening cast': (s) =>
    s.of(
      s.cast(s.cast(s.input('a b', 'f16'), 'f32'), s.of('f16', 'f32', 'bf16', 'i32')),
      s.cast(s.cast(s.input('a', 'bool'), s.of('f32', 'i32')), s.of('f16', 'i32', 'f32')),
    ),
  // ---- views
  'rearrange in normal form': (s) =>
    s.of(
      () => s.rearrange(s.sized([...s.axes('a'), s.merged('n', 'h w')]), 'a (h w) -> a n=(h w)'),
      () => s.rearrange(s.sized([...s.axes('a'), s.merged('n', 'h w v')]), 'a (h w v) -> (w v) a h'),
      () => s.rearrange(s.input('a b'), 'p q -> q p'),
    )(),
  'rearrange of rearrange': (s) =>
    s.of(
      () => s.rearrange(s.rearrange(s.input('a b c'), 'a b c -> c n=(a b)'), 'c (a b) -> b c a'),
      () => s.rearrange(s.rearrange(s.sized([s.merged('n', 'h w v')]), '(h w v) -> m=(w v) h'), '(w v) h -> v h w'),
      // Split one way, merged, then split another way: common parts exist where one size divides the other.
      () =>
        s.rearrange(
          s.rearrange(
            s.sized([
              { name: 'a', size: 2 },
              { name: 'b', size: 6 },
            ]),
            'a b -> n=(a b)',
          ),
          s.of('(d) -> d', '(d) -> e=(d)'),
        ),
      () =>
        s.make(
          rearrange,
          [
            s.rearrange(
              s.sized([
                { name: 'a', size: 2 },
                { name: 'b', size: 6 },
              ]),
              'a b -> n=(a b)',
            ),
          ],
          {
            split: [['p', 'q']],
            merge: [
              { name: 'q', parts: ['q'] },
              { name: 'p', parts: ['p'] },
            ],
            sizes: s.of<Record<string, number>>({ p: 4, q: 3 }, { p: 6, q: 2 }, { p: 1, q: 12 }, { p: 12, q: 1 }),
          },
        ),
      () =>
        s.make(
          rearrange,
          [
            s.make(
              rearrange,
              [
                s.sized([
                  { name: 'a', size: 6 },
                  { name: 'u', size: 1 },
                ]),
              ],
              { split: [['a'], []], merge: [{ name: 'a', parts: ['a'] }], sizes: { a: 6 } },
            ),
          ],
          {
            split: [['p', 'q']],
            merge: [
              { name: 'q', parts: ['q'] },
              { name: 'u', parts: [] },
              { name: 'p', parts: ['p'] },
            ],
            sizes: { p: 3, q: 2 },
          },
        ),
    )(),
  'broadcast to the same': (s) => s.wide(s.input('a b'), 'a b'),
  'broadcast of broadcast': (s) => s.wide(s.wide(s.input('a b'), 'b c a'), s.shuffled('a b c d')),
  'slice of everything': (s) => s.slice(s.input('a b'), 'b', 0, s.size('b')),
  'slice of slice': (s) => s.cut(s.cut(s.sized([{ name: 'a', size: 7 }, ...s.axes('b')]), 'a'), 'a'),
  'slice of concat': (s) => {
    const parts = [0, 1, 2].map((i) =>
      s.sized([
        { name: 'a', size: 1 + s.below(4) },
        { name: 'b', size: 2 + (i - i) },
      ]),
    );
    const at = s.below(3);
    const before = parts.slice(0, at).reduce((n, part) => n + Number(part.type.axes[0]?.size), 0);
    const size = Number(parts[at]?.type.axes[0]?.size);
    const start = s.below(size);
    return s.slice(s.concat(parts, 'a'), 'a', before + start, 1 + s.below(size - start));
  },
  'pad by nothing': (s) => s.pad(s.input('a b'), 'a', 0, 0),
  'pad of pad': (s) => s.pad(s.pad(s.input('a b'), 'a', s.below(3), 1, 0.5), 'a', 1, s.below(3), 0.5),
  'sum of pads': (s) => {
    const [m, n, before, after] = [1 + s.below(4), 1 + s.below(4), s.below(3), s.below(3)];
    const part = (size: number) =>
      s.sized([
        { name: 'a', size },
        { name: 'b', size: 2 },
      ]);
    const first = s.pad(part(m), 'a', before, n + after, 0);
    const second = s.pad(part(n), 'a', before + m, after, 0);
    return s.below(2) === 0 ? s.map('add', first, second) : s.map('add', second, first);
  },
  'sum of casts of pads': (s) => {
    const [m, n, before, after] = [1 + s.below(4), 1 + s.below(4), s.below(3), s.below(3)];
    const part = (size: number, from: number, to: number) =>
      s.cast(s.pad(s.cast(s.sized([...s.axes('b'), { name: 'a', size }]), 'f16'), 'a', from, to, 0), 'f32');
    return s.map('add', part(m, before, n + after), part(n, before + m, after));
  },
  'flip of flip': (s) => s.flip(s.flip(s.input('a b'), 'b'), 'b'),
  'concat of one': (s) => s.concat([s.input('a b')], 'b'),
  'concat of concat': (s) => {
    const [x, y, z] = [s.input('a b'), s.input('a b'), s.input('a b')];
    return s.of(
      s.concat([s.concat([x, y], 'a'), z], 'a'),
      s.concat([z, s.concat([x, y], 'a'), s.concat([z], 'a')], 'a'),
    );
  },
  'concat of neighbouring slices': (s) => {
    const x = s.sized([{ name: 'a', size: 8 }, ...s.axes('b')]);
    const [i, j] = [s.below(3), 4 + s.below(4)];
    const both = [s.slice(x, 'a', i, 4 - i), s.slice(x, 'a', 4, j - 4 + 1)];
    return s.of(
      () => s.concat(both, 'a'),
      () => s.concat([s.sized(x.type.axes), ...both], 'a'),
      () => s.concat([...both, s.slice(x, 'a', 1, 2)], 'a'),
    )();
  },
  'concat of rearranges': (s) => {
    const of = (size: number) =>
      s.rearrange(s.sized([...s.axes('b'), { name: 'm', size }, s.merged('c', 'h d')]), 'b m (h d) -> b t=(m) h d');
    return s.concat([of(1), of(3), of(s.below(4))], 't');
  },
  'permuted operand': (s) => {
    const x = s.rearrange(s.input('a b k'), `a b k -> ${s.of('k a b', 'b a k', 'k b a')}`);
    return s.of(s.product(x, s.input('k c'), 'a b c'), s.product(s.input('k c'), x, 'c b a'));
  },
  // ---- broadcasts
  'map of broadcasts': (s) =>
    s.of(
      () => s.map('add', s.wide(s.input('a'), 'a b c'), s.wide(s.input('b'), s.shuffled('a b c'))),
      () => s.map('exp', s.wide(s.input('a b'), s.shuffled('a b c'))),
      () => s.map('where', s.input('a', 'bool'), s.wide(s.input(''), 'a b'), s.scalar(1)),
      () => s.map('mul', s.wide(s.input('a b'), 'c b a'), s.input(s.of('a', 'b', ''))),
    )(),
  'broadcast beside a full operand': (s) =>
    s.of(
      s.map('add', s.input('a b'), s.wide(s.input('b'), s.of('a b', 'b a'))),
      s.map('where', s.wide(s.input('a', 'bool'), 'a b'), s.input('a b'), s.wide(s.input('b'), 'b a')),
    ),
  'contraction of a broadcast': (s) =>
    s.of(
      () => s.product(s.wide(s.input('k'), s.shuffled('a k')), s.input('k n'), s.shuffled('a n')),
      () => s.product(s.wide(s.input('b k'), 'b q k'), s.wide(s.input('b k n'), 'q b k n'), s.shuffled('b q n')),
      () => s.product(s.input('b m k'), s.wide(s.input('k b'), 'n k b'), s.shuffled('b m n')),
      () => s.product(s.wide(s.input('m'), 'm a k'), s.wide(s.input('k n'), 'k n a'), s.shuffled('a m n')),
    )(),
  'reduction of a broadcast': (s) => s.reduction(s.wide(s.input(s.of('k', 'a k')), s.shuffled('a b k')), 'k'),
  'reduction along a broadcast': (s) =>
    s.reduction(s.wide(s.input(s.of('', 'a', 'a k')), s.shuffled('a b k')), s.of('b', 'b a', 'b k')),
  'view of a broadcast': (s) => {
    const x = s.wide(s.input(s.of('a', 'a b')), s.of('a b c', 'c a b'));
    const names = x.type.axes.map((axis) => axis.name);
    return s.of(
      () => s.cut(x, s.of('a', 'c')),
      () => s.flip(x, s.of('a', 'c')),
      () => s.pad(x, 'a', 1, 2, 3),
      () => s.window(x, 'a', ['p', 'w'], 1),
      () => s.rearrange(x, `${names.join(' ')} -> n=(a b) c`),
      () => s.rearrange(x, `${names.join(' ')} -> c b a`),
      () => s.rearrange(s.wide(s.input('a'), 'a b c'), 'a b c -> n=(c b) a'),
      () => s.rearrange(s.wide(s.input('a'), 'a b c d'), 'a b c d -> n=(a b) m=(c d)'),
    )();
  },
  'concat of broadcasts': (s) =>
    s.of(
      () => s.concat([s.wide(s.input('c'), 'b q c'), s.wide(s.input('b c'), 'b q c')], 'c'),
      () => s.concat([s.wide(s.input('b c'), 'q c b'), s.wide(s.input('c b'), 'q c b')], s.of('c', 'b')),
    )(),
  'gather of broadcasts': (s) =>
    s.of(
      () => s.gather(s.wide(s.input('k d'), 'k b d'), s.input('n', 'i32'), 'k'),
      () => s.gather(s.input('k d'), s.wide(s.input('n', 'i32'), s.of('n b', 'b n')), 'k'),
      () => s.gather(s.wide(s.input('k d'), 'b k d'), s.wide(s.input('n', 'i32'), 'n b'), 'k'),
    )(),
  // ---- algebra
  'product of a join': (s) => {
    const part = (text: string) => (s.of(true, false) ? s.input(text) : s.wide(s.input(s.of('k', 'm k')), text));
    const x = s.concat([part('m a k'), part('m a k'), s.input('m a k')].slice(s.below(2)), 'k');
    const k = Number(axisOf(x.type.axes, 'k')?.size);
    const weights = (name: string) =>
      s.make(param, [], { ...typeAttrs([...s.axes('n'), { name, size: k }], 'f32'), name: 'w' });
    return s.of(
      () => s.product(x, weights('k'), 'm n a'),
      () => s.product(weights('k'), x, 'm a n'),
      () => s.product(s.rearrange(x, 'm a k -> m kin=(k) a'), weights('kin'), 'm a n'),
    )();
  },
  'weighted sum of products': weightedSum,
  'scale into the weights': (s) => affine(s, 'mul'),
  'shift through the weights': (s) => affine(s, 'add'),
  'product of weights': (s) => {
    const [m, k, n] = [s.axes('m'), { name: 'k', size: 2 + s.below(2) }, { name: 'n', size: 2 + s.below(2) }];
    const middle = { name: 'h', size: 4 + s.below(2) };
    const fixed = (axes: readonly Axis[], name: string) => s.make(param, [], { ...typeAttrs(axes, 'f32'), name });
    const inner = s.product(s.sized([...m, k]), fixed([k, middle], 'a'), 'm h');
    return s.of(
      () => s.product(inner, fixed([n, middle], 'b'), 'm n'),
      // As `linear` names things: the summed axis and the result share a name.
      () =>
        s.product(
          s.rearrange(inner, 'm h -> m c=(h)'),
          fixed(
            [
              { name: 'k', size: n.size },
              { name: 'c', size: middle.size },
            ],
            'b',
          ),
          'm k',
        ),
    )();
  },
  'biases together': (s) =>
    s.map('add', s.param(s.of('n', 'm n')), s.map('add', s.input('a m n'), s.param(s.of('n', 'm n')))),
  // ---- resampling
  'product before resampling': resampledProduct,
  // ---- joins
  'join before slice': (s) => {
    const [start, size] = [s.below(3), 1 + s.below(3)];
    const wholes = [1, 2, 1 + s.below(3)].map((t) =>
      s.sized([...s.axes('b'), { name: 't', size: t }, { name: 'c', size: 8 }]),
    );
    const join = (from: number) =>
      s.concat(
        wholes.map((x) => s.slice(x, 'c', from, size)),
        't',
      );
    return { left: join(start), others: [join(start + 3)] };
  },
};

/** (x ∘ step) W, through a cast or a renaming. */
function affine(s: Sketch, name: 'mul' | 'add'): Node {
  const dtype = s.of<DType>('f32', 'f16');
  const step = s.of(
    () => s.param('k'),
    () => s.scalar(0.5),
    () => s.param('j k'),
    () => s.param('k j'),
  )();
  const x = s.input('m j k');
  const stepped = s.of(true, false) ? s.map(name, x, step) : s.map(name, step, s.wide(s.input('m j k'), 'm j k'));
  const shown = dtype === 'f16' ? s.cast(stepped, 'f16') : stepped;
  const [a, w] = s.of(
    () => [shown, s.param('n j k', dtype)] as const,
    () =>
      [
        s.rearrange(shown, `${stepped.type.axes.map((axis) => axis.name).join(' ')} -> m j i=(k)`),
        s.rearrange(s.param('n j k', dtype), 'n j k -> n j i=(k)'),
      ] as const,
  )();
  return s.of(s.product(a, w, 'm n'), s.product(w, a, 'n m'));
}
