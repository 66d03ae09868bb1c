// Sorts and scatters of sizes that random graphs do not reach: rows longer than workgroup memory, long lists of positions, symbolic lengths.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { devices } from '../../compiler/devices.ts';
import { argsort, fixedParams, gridSample, cumsum, scatterAdd, topK, trace, type DType } from '../../dsl/index.ts';
import { judge, openGpu, withoutGpu, type Gpu } from './compare.ts';

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
