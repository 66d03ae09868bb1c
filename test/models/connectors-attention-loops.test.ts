// Connectors with attention or merging and no golden file, against plain loops over numbers, written from what their papers and code say.
import { describe, expect, test } from 'vitest';
import fc from 'fast-check';
import { cogvlmExpert } from '../../models/connectors/injection/cogvlm-expert.ts';
import { miniCpmV } from '../../models/connectors/queries/minicpm-v.ts';
import { mergedPairs, tome } from '../../models/connectors/selection/tome.ts';
import { llavaUhd4 } from '../../models/connectors/regions/llava-uhd-v4.ts';
import { anglesAt } from '../../models/decoders/rope.ts';
import { alignedRegions, type Box } from '../../models/parts/roi-align.ts';
import { routed, routesOf } from '../../models/parts/routing.ts';
import type { TowerReadings } from '../../models/connectors/connector.ts';
import {
  attend,
  close,
  computed,
  eachCell,
  geluTanh,
  grid,
  layerNorm,
  linear,
  mlp,
  rmsNorm,
  seed,
  squares,
  tokens,
  vector,
  type Grid,
  type Vector,
} from '../support/plain-mathematics.ts';

const sum = (x: Vector, y: Vector): Vector => x.map((v, i) => v + (y[i] ?? 0));
/** x · W of a matrix that is not stored as a linear map's. */
const times = (path: string, x: Vector, out: number): Vector => {
  const matrix = vector(path, [x.length, out]);
  return Array.from({ length: out }, (_, o) => x.reduce((total, v, i) => total + v * (matrix[i * out + o] ?? 0), 0));
};

describe('queries', () => {
  test('MiniCPM-V 2.5: keys know their row and column by sines, queries know nothing', () => {
    const [width, heads, queries] = [8, 2, 3];
    const maps = [grid(2, 3, 5, 1), grid(3, 2, 5, 2)];
    const place = (row: number, column: number): Vector =>
      [column, row].flatMap((at) => [Math.sin, Math.cos].flatMap((f) => [0, 1].map((i) => f(at / 10000 ** (i / 2)))));
    const learned = vector('query', [queries, width]);
    const packed = vector('attn.in_proj_weight', [3 * width, width]);
    const offsets = vector('attn.in_proj_bias', [3 * width]);
    const project = (which: number, x: Vector): Vector =>
      Array.from({ length: width }, (_, o) =>
        x.reduce(
          (total, v, i) => total + v * (packed[(which * width + o) * width + i] ?? 0),
          offsets[which * width + o] ?? 0,
        ),
      );
    const want = maps.flatMap((map) => {
      const cells = map.flatMap((line, row) =>
        line.map((cell, column) => ({
          value: layerNorm('ln_kv', linear('kv_proj', cell, width, false), 1e-6),
          row,
          column,
        })),
      );
      const q = Array.from({ length: queries }, (_, i) =>
        project(0, layerNorm('ln_q', learned.slice(i * width, (i + 1) * width), 1e-6)),
      );
      const keys = cells.map(({ value, row, column }) => project(1, sum(value, place(row, column))));
      const values = cells.map(({ value }) => project(2, value));
      return attend(q, keys, values, heads).map((read) =>
        times('proj', layerNorm('ln_post', linear('attn.out_proj', read, width), 1e-6), width),
      );
    });
    close(tokens(miniCpmV, { queries, heads, eps: 1e-6 }, maps, width), want);
  });
});

describe('regions', () => {
  test('LLaVA-UHD v4: squares merge inside the tower and behind it', () => {
    const [width, heads, c] = [6, 2, 4];
    const map = grid(4, 8, c, 1);
    const inside = { merge: 2, heads, intermediate: 10, eps: 1e-6, after: 1 };
    const early = windowMerged(map, heads, c);
    // The rest of the tower stands for itself: it doubles what it is given.
    const rest = eachCell(early, (x) => x.map((v) => 2 * v));
    const want = squares(rest, 2)
      .flat()
      .map((s) => mlp(['mlp.0.linear_1', 'mlp.0.linear_2'], layerNorm('mlp.0.pre_norm', s, 1e-6), s.length, width));
    const got = computed(width, new Map([['m', map.flat(2)]]), (t) => {
      const input = t.input('m', 'b h w c', { b: 1, h: 4, w: 8, c });
      const tower: Pick<TowerReadings, 'hidden' | 'resume'> = { hidden: () => input, resume: (_, x) => x.mul(2) };
      const config = { inside, merge: 2, eps: 1e-6 };
      return llavaUhd4.build(t.params, [input], config, { width, tower: () => tower as TowerReadings }).tokens;
    });
    close(got, want);
  });

  test('RoIAlign: every bin is the mean of its bilinear samples', () => {
    const side = fc.double({ min: 0, max: 9, noNaN: true });
    const box = fc
      .tuple(side, side, side, side)
      .map(([x, y, w, h]): Box => [x, y, x + w / 2, y + h / 2].map(Math.fround) as unknown as Box);
    fc.assert(
      fc.property(
        fc.array(box, { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 1, max: 3 }),
        fc.integer({ min: 1, max: 4 }),
        (boxes, down, across) => {
          const map = grid(5, 7, 2);
          const got = computed(2, new Map([['m', map.flat(2)]]), (t) =>
            alignedRegions(t.input('m', 'b h w c', { b: 1, h: 5, w: 7, c: 2 }), boxes, [down, across]),
          );
          close(
            got,
            boxes.flatMap((one) => aligned(map, one, down, across)),
          );
        },
      ),
      { numRuns: 60 },
    );
  });
});

/** Attention within each 2 × 2 square, then the square's mean and an MLP of its channels. */
function windowMerged(map: Grid, heads: number, c: number): Grid {
  const path = (name: string) => `vit_merger.${name}`;
  return squares(map, 2).map((line) =>
    line.map((square) => {
      const cells = Array.from({ length: 4 }, (_, i) => square.slice(i * c, (i + 1) * c));
      const normed = cells.map((x) => layerNorm(path('layer_norm1'), x, 1e-6));
      const project = (name: string) => normed.map((x) => linear(path(`self_attn.${name}`), x, c));
      const read = attend(project('q_proj'), project('k_proj'), project('v_proj'), heads);
      const u = cells.map((x, i) => sum(x, linear(path('self_attn.out_proj'), read[i] ?? [], c)));
      const mean = (u[0] ?? []).map((_, e) => u.reduce((total, x) => total + (x[e] ?? 0), 0) / 4);
      const s = layerNorm(path('pre_norm'), u.flat(), 1e-6);
      return sum(mean, linear(path('linear_2'), linear(path('linear_1'), s, 10).map(geluTanh), c));
    }),
  );
}

/** torchvision's roi_align with `aligned=False` and its own number of samples. */
function aligned(map: Grid, [left, top, right, bottom]: Box, down: number, across: number): readonly Vector[] {
  const [h, w] = [map.length, map[0]?.length ?? 0];
  const f = Math.fround;
  const [height, width] = [Math.max(f(bottom - top), 1), Math.max(f(right - left), 1)];
  const [tall, wide] = [f(height / down), f(width / across)];
  const [ny, nx] = [Math.ceil(tall), Math.ceil(wide)];
  const sample = (y: number, x: number): Vector => {
    if (y < -1 || y > h || x < -1 || x > w) return [0, 0];
    const cell = (at: number, size: number) => {
      const low = Math.min(Math.floor(Math.max(at, 0)), size - 1);
      return low >= size - 1 ? { low, high: low, part: 0 } : { low, high: low + 1, part: Math.max(at, 0) - low };
    };
    const [r, c] = [cell(y, h), cell(x, w)];
    return [0, 1].map(
      (e) =>
        (1 - r.part) * (1 - c.part) * (map[r.low]?.[c.low]?.[e] ?? NaN) +
        (1 - r.part) * c.part * (map[r.low]?.[c.high]?.[e] ?? NaN) +
        r.part * (1 - c.part) * (map[r.high]?.[c.low]?.[e] ?? NaN) +
        r.part * c.part * (map[r.high]?.[c.high]?.[e] ?? NaN),
    );
  };
  return Array.from({ length: down * across }, (_, bin) => {
    const [i, j] = [Math.floor(bin / across), bin % across];
    const samples = Array.from({ length: ny * nx }, (_sample, k) =>
      sample(
        top + i * tall + ((Math.floor(k / nx) + 0.5) * tall) / ny,
        left + j * wide + (((k % nx) + 0.5) * wide) / nx,
      ),
    );
    return samples.reduce(sum).map((v) => v / samples.length);
  });
}

describe('selection and merging', () => {
  /** ToMe's bipartite matching, pair by pair. */
  function matched(
    x: readonly Vector[],
    size: Vector,
    r: number,
  ): { readonly x: readonly Vector[]; readonly size: Vector } {
    const unit = x.map((v) => v.map((e) => e / Math.sqrt(v.reduce((total, y) => total + y * y, 0))));
    const a = x.map((_, i) => i).filter((i) => i % 2 === 0);
    const b = x.map((_, i) => i).filter((i) => i % 2 === 1);
    const pairs = a.map((i) => {
      const likes = b.map((j) => (unit[i] ?? []).reduce((total, v, e) => total + v * (unit[j]?.[e] ?? 0), 0));
      const best = Math.max(...likes);
      return { i, j: b[likes.indexOf(best)] ?? 0, best };
    });
    const joined = [...pairs].sort((p, q) => q.best - p.best || p.i - q.i).slice(0, r);
    const stays = a.filter((i) => !joined.some((pair) => pair.i === i));
    const groups = [
      ...stays.map((i) => [i]),
      ...b.map((j) => [j, ...joined.filter((pair) => pair.j === j).map(({ i }) => i)]),
    ];
    const sizes = groups.map((group) => group.reduce((total, i) => total + (size[i] ?? 0), 0));
    const means = groups.map((group, g) =>
      (x[0] ?? []).map(
        (_, e) => group.reduce((total, i) => total + (x[i]?.[e] ?? 0) * (size[i] ?? 0), 0) / (sizes[g] ?? 1),
      ),
    );
    return { x: means, size: sizes };
  }

  test('ToMe: two steps, weighed by how many patches a token stands for', () => {
    const [map, width] = [grid(3, 4, 5), 6];
    let state: { readonly x: readonly Vector[]; readonly size: Vector } = {
      x: map.flat(),
      size: map.flat().map(() => 1),
    };
    for (const r of [4, 3]) state = matched(state.x, state.size, r);
    const want = state.x.map((x) => mlp(['mm_projector.0', 'mm_projector.2'], x, width, width));
    close(tokens(tome, { merges: [4, 3] }, [map], width), want);
  });

  test('a step of ToMe on any number of tokens', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 11 }),
        fc.integer({ min: 0, max: 50 }),
        fc.integer({ min: 0, max: 99 }),
        (n, share, salt) => {
          const r = Math.max(1, Math.round((Math.ceil(n / 2) * share) / 50));
          const x = Array.from({ length: n }, (_, i) => [0, 1, 2].map((e) => seed(salt)(i * 3 + e)));
          const sizes = x.map((_, i) => 1 + (i % 3));
          const inputs = new Map([
            ['x', x.flat()],
            ['s', sizes],
          ]);
          const got = computed(3, inputs, (t) => {
            const [all, size] = [t.input('x', 'b n c', { b: 1, n, c: 3 }), t.input('s', 'b n', { b: 1, n })];
            return mergedPairs({ tokens: all, size }, all, r).tokens;
          });
          close(got, matched(x, sizes, r).x);
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('inside the language model', () => {
  test('tokens of two kinds each go their way and come back', () => {
    fc.assert(
      fc.property(fc.array(fc.boolean(), { minLength: 1, maxLength: 9 }), (kinds) => {
        const [s, first] = [kinds.length, kinds.filter(Boolean).length];
        const x = Array.from({ length: s }, (_, i) => i + 1);
        const inputs = new Map([
          ['x', x],
          ['k', kinds.map(Number)],
        ]);
        const got = computed(1, inputs, (t) => {
          const routes = routesOf(t.input('k', 'b s', { b: 1, s }, 'bool'), first);
          return routed(
            t.input('x', 'b s e', { b: 1, s, e: 1 }),
            routes,
            (y) => y.mul(-1),
            (y) => y.mul(100),
          );
        });
        close(
          got,
          x.map((v, i) => [kinds[i] === true ? -v : 100 * v]),
        );
      }),
    );
  });

  test('CogVLM: a layer whose visual tokens have their own weights', () => {
    const [width, heads, s] = [8, 2, 6];
    const isVisual = [false, true, true, true, false, false];
    const x = Array.from({ length: s }, (_, i) => Array.from({ length: width }, (_e, e) => seed(3)(i * width + e)));
    const places = [0, 1, 2, 2, 2, 3];
    const kind = (i: number) => (isVisual[i] === true ? 'vision' : 'language');
    const turn = (v: Vector, at: number): Vector => {
      const half = width / heads / 2;
      return v.map((value, e) => {
        const [head, d] = [Math.floor(e / (2 * half)), e % (2 * half)];
        const angle = at / 10000 ** ((d % half) / half);
        const other = v[head * 2 * half + ((d + half) % (2 * half))] ?? 0;
        return value * Math.cos(angle) + (d < half ? -other : other) * Math.sin(angle);
      });
    };
    const qkv = x.map((v, i) =>
      linear(
        `layers.1.self_attn.${kind(i)}_expert_query_key_value`,
        rmsNorm('layers.1.input_layernorm', v, 1e-5),
        3 * width,
        false,
      ),
    );
    const third = (i: number) => qkv.map((v) => v.slice(i * width, (i + 1) * width));
    const rotated = (of: readonly Vector[]) => of.map((v, i) => turn(v, places[i] ?? 0));
    const read = attend(rotated(third(0)), rotated(third(1)), third(2), heads, (q, k) => k <= q);
    const after = x.map((v, i) =>
      sum(v, linear(`layers.1.self_attn.${kind(i)}_expert_dense`, read[i] ?? [], width, false)),
    );
    const want = after.map((v, i) => {
      const path = (name: string) => `layers.1.mlp.${kind(i)}_mlp.${name}`;
      const normed = rmsNorm('layers.1.post_attention_layernorm', v, 1e-5);
      const up = linear(path('up_proj'), normed, 12, false);
      const gated = linear(path('gate_proj'), normed, 12, false).map((g, o) => (g / (1 + Math.exp(-g))) * (up[o] ?? 0));
      return sum(v, linear(path('down_proj'), gated, width, false));
    });
    let slot = 0;
    const slots = isVisual.map((yes) => (yes ? slot++ : -1));
    const inputs = new Map([
      ['x', x.flat()],
      ['slots', slots],
      ['places', places],
      ['visual', new Array<number>(3 * width).fill(0)],
    ]);
    const config = { eps: 1e-5, marks: false, heads, intermediate: 12, layerEps: 1e-5 };
    const got = computed(width, inputs, (t) => {
      const positions = t.input('places', 'b s', { b: 1, s }, 'i32');
      const state = {
        hidden: t.input('x', 'b s e', { b: 1, s, e: width }),
        slots: t.input('slots', 'b s', { b: 1, s }, 'i32'),
        carried: { visual: t.input('visual', 'b n e', { b: 1, n: 3, e: width }) },
        angles: () => anglesAt(positions, { theta: 10000, rotated: width / heads, scaling: { kind: 'none' } }, s),
      };
      const { inject } = cogvlmExpert;
      if (inject === undefined) throw new Error('it acts inside');
      return inject.apply(t.params, state, config, { layer: 0, index: 1 }).hidden;
    });
    // Cosines and sines are a table in f32.
    got.forEach((row, i) => row.forEach((v, e) => expect(Math.abs(v - (want[i]?.[e] ?? NaN))).toBeLessThan(1e-5)));
  });
});
