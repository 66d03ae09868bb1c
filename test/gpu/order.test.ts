// Sorts and scatters of sizes that random graphs do not reach: rows longer than workgroup memory, long lists of positions, symbolic lengths.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { devices } from '../../compiler/devices.ts';
import {
  argsort,
  fixedParams,
  gridSample,
  cumsum,
  scatterAdd,
  sort,
  topK,
  trace,
  type DType,
} from '../../dsl/index.ts';
import { hasShuffles, judge, openGpu, withoutGpu, type Gpu } from './compare.ts';

/** `OPABINIA_ALL=1` tries the longer ones too. */
const all = process.env['OPABINIA_ALL'] === '1';

/** Numbers with ties, NaN, both zeros and both infinities among them. */
function odd(count: number, dtype: DType): Float64Array {
  const special = [0, -0, NaN, Infinity, -Infinity, 0.5];
  return Float64Array.from({ length: count }, (_, i) => {
    const mixed = (i * 7919 + 13) % 257;
    if (dtype === 'u32') return mixed * 16_000_000;
    if (dtype === 'i32') return (mixed - 128) * 16_000_000;
    return mixed < 24 ? (special[mixed % special.length] ?? 0) : (mixed - 128) / 8;
  });
}

const feeds = (inputs: Readonly<Record<string, Float64Array>>, symbols: Readonly<Record<string, number>> = {}) => ({
  inputs: new Map(Object.entries(inputs)),
  params: () => new Float64Array(0),
  symbols: new Map(Object.entries(symbols)),
});

describe.skipIf(withoutGpu)('order on the GPU', () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  test.each([
    ['f32', 5000, 16, 'sort in workgroup memory'],
    ['f16', 1500, 1500, 'sort in workgroup memory'],
    ['i32', 2099, 2099, undefined],
    ['u32', 2049, 3, 'sort in workgroup memory'],
  ] as const)(
    '%s, %d elements, the first %d',
    async (dtype, n, k, template) => {
      for (const profile of gpu.profiles) {
        const graph = trace(fixedParams({}), (t) => {
          const x = t.input('x', 'b n', { b: 1, n }, dtype);
          return k === n ? { indices: argsort(x, 'n') } : { ...topK(x, 'n', k) };
        });
        const verdict = await judge(gpu, graph, feeds({ x: odd(n, dtype) }), { profile });
        if (template !== undefined) expect(verdict.templates).toContain(template);
      }
    },
    120_000,
  );

  test.each(
    (
      [
        ['f32', 2, 9000, false, 9000],
        ['f32', 1, 100_000, false, 100_000],
        ['f16', 1, 4097, true, 4097],
        ['i32', 3, 12_289, true, 12_289],
        ['u32', 1, 20_000, false, 7000],
      ] as const
    ).slice(0, all ? undefined : 2),
  )(
    'merge passes: %s, %d rows of %d elements, falling %s, the first %d ranks',
    async (dtype, b, n, descending, ranks) => {
      const graph = trace(fixedParams({}), (t) => {
        const x = t.input('x', 'b n', { b, n }, dtype);
        return ranks === n ? { ...sort(x, 'n', { descending }) } : { y: topK(x, 'n', ranks).indices };
      });
      const verdict = await judge(gpu, graph, feeds({ x: odd(b * n, dtype) }), { profile: gpu.profiles[0] });
      expect(verdict.templates).toContain('sort in merge passes');
    },
    400_000,
  );

  test('merge passes over a computed operand, along an axis in the middle whose length changes', async () => {
    const graph = trace(fixedParams({}), (t) => {
      const n = t.symbol('n', { upTo: 9000, atLeast: 0 });
      const x = t
        .input('x', 'b n c', { b: 2, n, c: 2 })
        .mul(0.5)
        .add(t.input('shift', 'c', { c: 2 }));
      return { y: argsort(x, 'n', { descending: true }) };
    });
    for (const n of all ? [1, 4095, 4097, 8193, 9000] : [4097]) {
      const shift = Float64Array.of(0.25, -1);
      const verdict = await judge(gpu, graph, feeds({ x: odd(4 * n, 'f32'), shift }, { n }), {
        profile: gpu.profiles[n % 2 === 0 ? 0 : 1],
      });
      expect(verdict.templates).toContain('sort in merge passes');
    }
  }, 120_000);

  test('a length that changes from run to run', async () => {
    const graph = trace(fixedParams({}), (t) => ({
      y: argsort(t.input('x', 'n', { n: t.symbol('n', { upTo: 900 }) }), 'n', { descending: true }),
      z: cumsum(t.input('i', 'n', { n: t.symbol('n', { upTo: 900 }) }, 'i32'), 'n'),
    }));
    for (const n of [1, 63, 900])
      await judge(gpu, graph, feeds({ x: odd(n, 'f32'), i: odd(n, 'i32').map((x) => x / 16_000_000) }, { n }), {
        profile: gpu.profiles[0],
      });
  }, 120_000);

  test('a table of many rows, from a list of positions that changes', async () => {
    const graph = trace(fixedParams({}), (t) => {
      const n = t.symbol('n', { upTo: 3000 });
      return { y: scatterAdd(t.input('x', 'n c', { n, c: 130 }), t.input('i', 'n', { n }, 'i32'), 'v c', { v: 50 }) };
    });
    for (const n of [1, 2500]) {
      const x = Float64Array.from({ length: n * 130 }, (_, i) => ((i * 31) % 97) / 16);
      const i = Float64Array.from({ length: n }, (_, at) => ((at * 13) % 60) - 5);
      const verdict = await judge(gpu, graph, feeds({ x, i }, { n }), { profile: gpu.profiles[0] });
      expect(verdict.templates).toContain('scatter by workgroups');
    }
  }, 120_000);

  test.skipIf(!hasShuffles).each(
    (
      [
        // Rows of nobody, rows of one, and 20 positions that mean one block, more than are kept.
        ['f32', 2, 40, 6, (at: number) => (at < 20 ? 130 + (at % 7) : (at * 97) % 700)],
        ['i32', 1, 5, 1, (at: number) => at * 200 - 100],
        ['f16', 1, 3, 9, () => 699],
        ['f32', 1, 17, 8, () => 64],
      ] as const
    ).slice(0, all ? undefined : 2),
  )(
    'a table with more rows than there are positions: %s, batch %d, %d positions, %d columns',
    async (dtype, b, n, c, positionAt) => {
      const graph = trace(fixedParams({}), (t) => ({
        y: scatterAdd(t.input('x', 'b n c', { b, n, c }, dtype), t.input('i', 'n', { n }, 'i32'), 'b v c', { v: 700 }),
      }));
      const x = Float64Array.from({ length: b * n * c }, (_, i) => ((i * 31) % 97) - 40);
      const i = Float64Array.from({ length: n }, (_, at) => positionAt(at));
      const verdict = await judge(gpu, graph, feeds({ x, i }), { profile: gpu.software });
      expect(verdict.templates).toEqual(['scatter by blocks of rows']);
    },
    120_000,
  );

  test('pixels between pixels', async () => {
    const graph = trace(fixedParams({}), (t) => {
      const x = t.input('x', 'b h w c', { b: 2, h: t.symbol('h', { upTo: 9 }), w: 7, c: 5 });
      return { y: gridSample(x, t.input('g', 'b q xy', { b: 2, q: 11, xy: 2 })) };
    });
    // Eighths: floors are far from where rounding could take them.
    const g = Float64Array.from({ length: 44 }, (_, i) => ((i * 5) % 19) / 8 - 1.0625);
    const x = Float64Array.from({ length: 2 * 5 * 7 * 5 }, (_, i) => ((i * 31) % 97) / 16);
    await judge(gpu, graph, feeds({ x, g }, { h: 5 }), { profile: gpu.profiles[0] });
  }, 120_000);
});

test('the largest k of rows store no pairs of elements', () => {
  for (const { profile } of Object.values(devices))
    for (const [n, k] of [
      [576, 5],
      [5000, 16],
      [100_000, 64],
    ] as const) {
      const graph = trace(fixedParams({}), (t) => ({ ...topK(t.input('x', 'm n', { m: 576, n }), 'n', k) }));
      expect(compile(graph, profile, { verify: true }).memory.activations).toBeLessThanOrEqual(16 * 2 ** 20);
    }
});

test('a long row is sorted in runs and one pass for each doubling', () => {
  for (const { profile } of Object.values(devices))
    for (const n of [4000, 10_000, 100_000]) {
      const graph = trace(fixedParams({}), (t) => ({ y: argsort(t.input('x', 'n', { n }), 'n') }));
      const plan = compile(graph, profile, { verify: true });
      // Keys and positions, eight bytes together.
      const run = Math.min(4096, 2 ** Math.floor(Math.log2(profile.maxWorkgroupBytes / 8)));
      expect(plan.dispatches).toHaveLength(1 + Math.max(0, Math.ceil(Math.log2(n / run))));
      // Two orders at a time, the one read and the one made.
      expect(plan.memory.activations).toBeLessThanOrEqual(2 * 4 * (n + 1024));
    }
});
