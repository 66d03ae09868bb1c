// Forms of connectors for which no golden file exists, against plain loops over numbers: PruMerge+, stacked Molmo, deformable attention of several maps.
import { describe, expect, test } from 'vitest';
import { randomParams, trace } from '../../dsl/index.ts';
import { honeybeeDAbstractor } from '../../models/connectors/regions/honeybee-d-abstractor.ts';
import { molmo } from '../../models/connectors/regions/molmo.ts';
import { pruneAndMerge } from '../../models/connectors/selection/prumerge.ts';
import { deformableAttention } from '../../models/parts/deformable-attention.ts';
import {
  close,
  computed,
  grid,
  linear,
  seed,
  squares,
  tokens,
  type Grid,
  type Vector,
} from '../support/plain-mathematics.ts';

const silu = (x: number) => x / (1 + Math.exp(-x));

test('Molmo, stacked: squares side by side, odd sides filled with zeros, then the gated MLP', () => {
  const map = grid(3, 5, 2);
  const zeros: Vector = [0, 0];
  const even: Grid = [...map.map((line) => [...line, zeros]), Array.from({ length: 6 }, () => zeros)];
  const want = squares(even, 2)
    .flat()
    .map((x) => {
      const [gate, up] = [linear('image_projector.w1', x, 7, false), linear('image_projector.w3', x, 7, false)];
      return linear(
        'image_projector.w2',
        gate.map((g, i) => silu(g) * (up[i] ?? 0)),
        3,
        false,
      );
    });
  const config = { pool: 2, query: 'stack', heads: 1, keyValueHeads: 1, headSize: 1, pooled: 1, hidden: 7 };
  close(tokens(molmo, config, [map], 3), want);
});

test('PruMerge+: the most looked at, then every s-th from the middle of the first stretch, each with its neighbors', () => {
  const [n, c, keep, spread, neighbours] = [13, 3, 3, 4, 2];
  const [at, of] = [seed(1), seed(2)];
  const rows = (f: (i: number) => number): readonly Vector[] =>
    Array.from({ length: n }, (_, i) => Array.from({ length: c }, (_c, e) => f(i * c + e)));
  const [x, keys] = [rows(at), rows(of)];
  const look = Array.from({ length: n }, (_, i) => 0.01 + ((7 * i) % 13) / 100);
  const highest = look.map((_, i) => i).toSorted((i, j) => (look[j] ?? 0) - (look[i] ?? 0));
  // 13 over 4 is 3; the middle of the first stretch is 1.
  const kept = [...highest.slice(0, keep), 1, 4, 7, 10];
  const dot = (a: Vector, b: Vector) => a.reduce((sum, v, i) => sum + v * (b[i] ?? 0), 0);
  const cosine = (i: number, j: number): number => {
    const [a, b] = [keys[i] ?? [], keys[j] ?? []];
    return dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  };
  const weighed = (places: readonly number[]): Vector =>
    Array.from({ length: c }, (_, e) => places.reduce((sum, j) => sum + (look[j] ?? 0) * (x[j]?.[e] ?? 0), 0));
  const want = kept.map((i) => {
    const near = look
      .map((_, j) => j)
      .filter((j) => j !== i)
      .toSorted((a, b) => cosine(i, b) - cosine(i, a))
      .slice(0, neighbours);
    return weighed(near).map((v, e) => v + (x[i]?.[e] ?? 0));
  });
  const rest = weighed(look.map((_, i) => i).filter((i) => !kept.includes(i)));
  const given = new Map([
    ['x', x.flat()],
    ['keys', keys.flat()],
    ['look', look],
  ]);
  const got = computed(c, given, (t) => {
    const of = { b: 1, n, c };
    const [values, all] = [t.input('x', 'b n c', of), t.input('keys', 'b n c', of)];
    return pruneAndMerge(values, all, t.input('look', 'b n', { b: 1, n }), { keep, spread, neighbours });
  });
  close(got, [...want, rest]);
});

describe('deformable attention of several maps', () => {
  const [heads, points, size, queries] = [2, 3, 4, 3];
  /** Bilinear, cells having their centers at halves; zeros outside. */
  const sampled = (map: Grid, x: number, y: number): Vector => {
    const [left, top] = [Math.floor(x), Math.floor(y)];
    const corner = (dy: number, dx: number): Vector => {
      const share = (dy === 0 ? 1 - (y - top) : y - top) * (dx === 0 ? 1 - (x - left) : x - left);
      const cell = map[top + dy]?.[left + dx];
      return Array.from({ length: size }, (_, e) => share * (cell?.[e] ?? 0));
    };
    const corners = [corner(0, 0), corner(0, 1), corner(1, 0), corner(1, 1)];
    return Array.from({ length: size }, (_, e) => corners.reduce((sum, own) => sum + (own[e] ?? 0), 0));
  };

  test.each([1, 2, 3])('%i maps: points of all share one softmax, offsets are cells of their own map', (levels) => {
    const maps = [grid(3, 4, 5, 1), grid(2, 2, 5, 2), grid(5, 3, 5, 3)].slice(0, levels);
    const query = grid(1, queries, size, 4)[0] ?? [];
    const places = Array.from({ length: queries }, (_, q): Vector => [0.1 + 0.4 * q, 0.9 - 0.3 * q]);
    const values = maps.map((map) => map.map((line) => line.map((cell) => linear('value_proj', cell, size))));
    const count = heads * levels * points;
    const want = query.map((own, q) => {
      const [offsets, logits] = [linear('sampling_offsets', own, 2 * count), linear('attention_weights', own, count)];
      const read = Array.from({ length: heads }, (_, head): Vector => {
        const all = logits.slice(head * levels * points, (head + 1) * levels * points).map(Math.exp);
        const total = all.reduce((sum, v) => sum + v, 0);
        const parts = all.map((power, k): Vector => {
          const map = values[Math.floor(k / points)] ?? [];
          const at = 2 * (head * levels * points + k);
          const [x = 0, y = 0] = places[q] ?? [];
          const column = x * (map[0]?.length ?? 0) + (offsets[at] ?? 0) - 0.5;
          const row = y * map.length + (offsets[at + 1] ?? 0) - 0.5;
          return sampled(map, column, row).map((v) => (v * power) / total);
        });
        return Array.from({ length: size }, (_e, e) => parts.reduce((sum, part) => sum + (part[e] ?? 0), 0));
      });
      // Channels 0 and 1 are those of the first head.
      return linear(
        'output_proj',
        read.flatMap((own, head) => own.slice((head * size) / heads, ((head + 1) * size) / heads)),
        size,
      );
    });
    const given = new Map([
      ['query', query.flat()],
      ['places', places.flat()],
      ...maps.map((map, k): [string, readonly number[]] => [`m${k}`, map.flat(2)]),
    ]);
    const got = computed(size, given, (t) => {
      const inputs = maps.map((map, k) =>
        t.input(`m${k}`, 'b h w c', { b: 1, h: map.length, w: map[0]?.length ?? 0, c: 5 }),
      );
      const references = t.input('places', 'q i', { q: queries, i: 2 });
      return deformableAttention(
        t.params,
        t.input('query', 'b q c', { b: 1, q: queries, c: size }),
        inputs,
        references,
        {
          heads,
          points,
        },
      );
    });
    close(got, want);
  });

  const built = (pooled: 'query' | 'none') =>
    trace(randomParams(1), (t) => {
      const maps = [0, 1].map((k) => t.input(`m${k}`, 'b h w c', { b: 1, h: 4, w: 4, c: 6 }));
      const config = {
        queries: 4,
        size: 8,
        layers: 1,
        heads: 2,
        points: 2,
        intermediate: 8,
        pooled,
        ends: 0,
        placed: true,
      };
      return { y: honeybeeDAbstractor.build(t.params, maps, config, { width: 10 }).tokens };
    });

  test('the D-Abstractor of two layers has a map and a mark for each; its queries are learned', () => {
    expect(
      built('none')
        .outputs.get('y')
        ?.type.axes.map(({ size: own }) => own),
    ).toEqual([1, 4, 10]);
    expect(() => built('query')).toThrow(/2 levels have no pooled queries[^]*pooled: 'none'/);
  });
});
