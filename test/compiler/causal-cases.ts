// Attention whose mask compares positions: where a row need not walk all keys, and where it must, because a row may weigh all of them alike.
import {
  addSizes,
  attention,
  einsum,
  evaluateSize,
  randomParams,
  slice,
  softmax,
  tanh,
  trace,
  where,
  type Float,
  type Graph,
  type Size,
  type Tensor,
  type Trace,
} from '../../dsl/index.ts';
import { symbolSize } from '../../dsl/axis/axis.ts';
import { positions } from '../../dsl/functions/math.ts';
import { broadcast } from '../../dsl/ops/view.ts';
import { apply } from '../../dsl/tensor.ts';

export interface CausalCase {
  readonly graph: Graph;
  /** Values of symbols to run it with. */
  readonly symbols: ReadonlyMap<string, number>;
  /** The input `mask`, where there is one: some rows have lost every key that they see, and no other. */
  readonly mask: ReadonlyMap<string, Float64Array>;
  /** `own`: the walk over keys ends behind the last that a row sees. */
  readonly walks: 'own' | 'all';
}

type Any = Tensor<string, Float>;
type Places = Tensor<string, 'i32'>;
type Mask = Tensor<string, 'bool'>;
type Sizes = Readonly<Record<string, Size>>;

interface ByName {
  readonly query: string;
  readonly key: string;
  readonly sizes: Sizes;
  readonly causal?: boolean | string;
  readonly mask?: 'bool' | 'f32';
  readonly dtype?: Float;
  readonly symbols?: Readonly<Record<string, number>>;
}

const s = symbolSize({ name: 's', least: 1, bound: 24 });
const n = symbolSize({ name: 'n', least: 1, bound: 30 });
const past = symbolSize({ name: 'past', least: 0, bound: 20 });

/** `attention` with a causal mask, and another mask along `q t` where it is asked for. */
function byName(
  walks: CausalCase['walks'],
  { query, key, sizes, causal = true, mask, dtype = 'f32', symbols = {} }: ByName,
): CausalCase {
  const pick = (axes: string) => Object.fromEntries(axes.split(' ').map((axis) => [axis, sizes[axis] ?? 1]));
  const graph = trace(randomParams(1, { dtype }), (t) => {
    const input = (name: string, axes: string, type: Float | 'bool') => t.input(name, axes, pick(axes), type) as Any;
    return {
      y: attention(input('query', query, dtype), input('key', key, dtype), input('value', key, dtype), {
        key: 't',
        along: 'd',
        causal,
        ...(mask === undefined ? {} : { mask: input('mask', 'q t', mask) }),
      }),
    };
  });
  return {
    graph,
    symbols: new Map(Object.entries(symbols)),
    walks,
    mask: mask === undefined ? new Map() : new Map([['mask', voids(sizes, mask)]]),
  };
}

/** Every third row has lost the keys that it sees and only them; others have lost some. */
function voids(sizes: Sizes, dtype: 'bool' | 'f32'): Float64Array {
  const [rows, keys] = [sizes['q'], sizes['t']].map((size) => evaluateSize(size ?? 1, new Map()));
  if (rows === undefined || keys === undefined) throw new TypeError('a mask has queries and keys');
  return Float64Array.from({ length: rows * keys }, (_, i) => {
    const [q, key] = [Math.floor(i / keys), i % keys];
    const kept = q % 3 === 1 ? key > q + keys - rows : (q * 7 + key * 5) % 3 > 0;
    return dtype === 'bool' ? Number(kept) : kept ? 0 : Math.fround(-3e38);
  });
}

interface Scene {
  readonly t: Trace;
  /** Scores of 2 × 19 queries × 23 keys, scaled. */
  readonly scores: Tensor<string, 'f32'>;
  /** Positions, as wide as a mask. */
  readonly row: Places;
  readonly key: Places;
}

const byHandSizes = { h: 2, q: 19, t: 23, d: 8 } as const;

/** Attention spelled out, with logits of one's own. */
function byHand(walks: CausalCase['walks'], logits: (scene: Scene) => Tensor<string, Float>): CausalCase {
  const { h, q, t: keys, d } = byHandSizes;
  const graph = trace(randomParams(1), (t) => {
    const query = t.input('query', 'h q d', { h, q, d });
    const [key, value] = [t.input('key', 'h t d', { h, t: keys, d }), t.input('value', 'h t d', { h, t: keys, d })];
    const scores = einsum(query, key, 'h q d, h t d -> h q t').mul(0.25) as Tensor<string, 'f32'>;
    const [row, column] = [
      positions(scores, { name: 'q', size: q }, 'q'),
      positions(scores, { name: 't', size: keys }, 't'),
    ];
    const weights = softmax(logits({ t, scores, row: wide(row), key: wide(column) }), 't');
    return { y: einsum(weights as Tensor<'h q t'>, value, 'h q t, h t d -> h q d') };
  });
  return { graph, symbols: new Map(), mask: new Map([['mask', voids(byHandSizes, 'bool')]]), walks };
}

function wide(x: Places): Places {
  const { q, t } = byHandSizes;
  return apply<string, 'i32'>('repeat', broadcast, [x], {
    axes: [
      { name: 'q', size: q },
      { name: 't', size: t },
    ],
  });
}

const low = -3e38;
const kept = (scores: Tensor<string, 'f32'>, mask: Mask, constant = low): Any => scores.where(mask, constant) as Any;
const bool = (t: Trace): Mask => t.input('mask', 'q t', { q: byHandSizes.q, t: byHandSizes.t }, 'bool') as Mask;

const heads = { query: 'h q d', key: 'h t d' };

export const causalCases: Readonly<Record<string, () => CausalCase>> = {
  'as many keys': () => byName('own', { ...heads, sizes: { h: 2, q: 21, t: 21, d: 8 } }),
  'more keys': () => byName('own', { ...heads, sizes: { h: 2, q: 11, t: 29, d: 8 } }),
  'few queries, many keys': () => byName('own', { ...heads, sizes: { h: 2, q: 9, t: 140, d: 4 } }),
  'in f16': () => byName('own', { ...heads, sizes: { h: 2, q: 19, t: 21, d: 8 }, dtype: 'f16' }),
  'symbolic, as many keys': () => byName('own', { ...heads, sizes: { h: 2, q: s, t: s, d: 8 }, symbols: { s: 19 } }),
  'symbolic, more keys': () =>
    byName('own', { ...heads, sizes: { h: 2, q: s, t: addSizes(s, past), d: 8 }, symbols: { s: 11, past: 6 } }),
  'symbolic, more keys by none': () =>
    byName('own', { ...heads, sizes: { h: 2, q: s, t: addSizes(s, past), d: 8 }, symbols: { s: 17, past: 0 } }),
  'grouped, queries outside': () =>
    byName('own', { query: 'q g r d', key: 't g d', sizes: { q: 13, g: 2, r: 3, t: 13, d: 8 }, causal: 'q' }),
  'grouped, queries inside': () =>
    byName('own', { query: 'g r q d', key: 'g t d', sizes: { q: 13, g: 2, r: 3, t: 15, d: 8 }, causal: 'q' }),
  'grouped, queries inside, runs of whole tiles': () =>
    byName('own', { query: 'g r q d', key: 'g t d', sizes: { q: 16, g: 2, r: 3, t: 20, d: 8 }, causal: 'q' }),
  'grouped, queries inside, runs shorter than a tile': () =>
    byName('own', { query: 'g r q d', key: 'g t d', sizes: { q: 3, g: 2, r: 7, t: 20, d: 8 }, causal: 'q' }),
  'grouped, queries inside, symbolic': () =>
    byName('own', {
      query: 'b g r q d',
      key: 'b g t d',
      sizes: { b: 2, q: s, g: 1, r: 3, t: s, d: 8 },
      causal: 'q',
      symbols: { s: 11 },
    }),
  'queries between other rows': () =>
    byName('own', { query: 'a q r d', key: 't d', sizes: { a: 2, q: 7, r: 3, t: 9, d: 8 }, causal: 'q' }),
  'keys of each query': () =>
    byName('own', { query: 'q h d', key: 'q t h d', sizes: { q: 9, h: 2, t: 21, d: 8 }, causal: 'q' }),
  'key first': () => byHand('own', ({ scores, row, key }) => kept(scores, key.le(row))),
  'before the next': () => byHand('own', ({ scores, row, key }) => kept(scores, key.lt(row.add(1)))),
  'the other branch': () => byHand('own', ({ scores, row, key }) => where(key.gt(row) as Mask, low, scores) as Any),
  'the other branch, row first': () =>
    byHand('own', ({ scores, row, key }) => where(row.lt(key) as Mask, low, scores) as Any),
  'keys moved': () => byHand('own', ({ scores, row, key }) => kept(scores, row.ge(key.sub(2)))),
  'beyond the last key': () => byHand('own', ({ scores, row, key }) => kept(scores, row.add(9).ge(key))),
  'two keys a row': () =>
    byHand('own', ({ scores, key }) => {
      const twice = positions(scores, { name: 'q', size: 2 * byHandSizes.q }, 'q') as Places;
      return kept(scores, wide(slice(twice, 'q', { size: byHandSizes.q, step: 2 })).ge(key));
    }),

  'not causal': () => byName('all', { ...heads, sizes: { h: 2, q: 21, t: 21, d: 8 }, causal: false }),
  'one query': () =>
    byName('all', { ...heads, sizes: { h: 2, q: 1, t: addSizes(past, 1), d: 8 }, symbols: { past: 12 } }),
  'fewer keys': () => byName('all', { ...heads, sizes: { h: 2, q: 21, t: 9, d: 8 } }),
  'symbolic, any number of keys': () =>
    byName('all', { ...heads, sizes: { h: 2, q: s, t: n, d: 8 }, symbols: { s: 11, n: 19 } }),
  'symbolic, any number of keys, fewer': () =>
    byName('all', { ...heads, sizes: { h: 2, q: s, t: n, d: 8 }, symbols: { s: 19, n: 11 } }),
  'a bool mask': () => byName('all', { ...heads, sizes: { h: 2, q: 21, t: 21, d: 8 }, mask: 'bool' }),
  'a float mask': () => byName('all', { ...heads, sizes: { h: 2, q: 21, t: 21, d: 8 }, mask: 'f32' }),
  'a mask outside': () =>
    byHand(
      'all',
      ({ t, scores, row, key }) => (kept(scores, row.ge(key)) as Tensor<string, 'f32'>).where(bool(t), low) as Any,
    ),
  'a mask in the condition': () => byHand('all', ({ t, scores, row, key }) => kept(scores, row.ge(key).and(bool(t)))),
  'strictly before': () => byHand('all', ({ scores, row, key }) => kept(scores, row.gt(key))),
  'behind the row': () => byHand('all', ({ scores, row, key }) => kept(scores, row.le(key))),
  'the wrong branch': () => byHand('all', ({ scores, row, key }) => where(row.ge(key) as Mask, low, scores) as Any),
  'a window': () =>
    byHand('all', ({ scores, row, key }) =>
      kept(kept(scores, row.lt(key.add(4))) as Tensor<string, 'f32'>, row.ge(key)),
    ),
  'keys up to a number': () => byHand('all', ({ scores, key }) => kept(scores, key.lt(7))),
  'a sum that wraps around': () => byHand('all', ({ scores, row, key }) => kept(scores, row.add(2 ** 31 - 1).ge(key))),
  'compared as floats': () =>
    byHand('all', ({ scores, row, key }) => kept(scores, row.cast('f32').ge(key.cast('f32')) as Mask)),
  'positions from an input': () =>
    byHand('all', ({ t, scores, row, key }) =>
      kept(scores, row.add(t.input('offset', '', {}, 'i32') as Places).ge(key)),
    ),
  'a mild mask': () => byHand('all', ({ scores, row, key }) => kept(scores, row.ge(key), -30)),
  'scaled behind the mask': () =>
    byHand('all', ({ scores, row, key }) => kept(scores, row.ge(key), -1e38).mul(0.01) as Any),
  'scores through a function': () =>
    byHand('all', ({ scores, row, key }) => kept(tanh(scores).mul(5) as Tensor<string, 'f32'>, row.ge(key))),
};
