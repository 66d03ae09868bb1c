// Every template of contractions, at the edges of its tiles.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { share } from '../support/share.ts';
import { hasShuffles, judge, openGpu, seed, unhurried, withoutGpu, type Gpu } from './compare.ts';
import { contractArbitrary, contractCase } from './contract-cases.ts';

interface Row {
  readonly template: string;
  readonly profile: 'software' | 'desktop';
  readonly m: readonly number[];
  readonly n: readonly number[];
  readonly k: readonly number[];
  readonly runs: number;
}

// The tile before, the tile, and one more, in rows, columns and steps of the sum.
const rows: readonly Row[] = [
  {
    template: 'contraction by shuffles',
    profile: 'software',
    m: [1, 2, 4, 5, 7, 8, 9, 17, 33],
    n: [5, 8, 15, 16, 17, 31, 32, 33, 36, 60, 64, 65, 68],
    k: [4, 7, 8, 9, 15, 16, 17, 33],
    runs: 24,
  },
  { template: 'serial contraction', profile: 'software', m: [3, 8, 64, 65], n: [2, 3], k: [2, 3, 17], runs: 8 },
  { template: 'serial contraction', profile: 'desktop', m: [1, 3, 8, 64, 65], n: [4, 5, 65], k: [2, 3], runs: 8 },
  {
    template: 'contraction of few rows',
    profile: 'desktop',
    m: [1, 2, 3, 4],
    n: [16, 17, 63, 64, 65, 132],
    k: [4, 15, 16, 17, 33],
    runs: 10,
  },
  {
    template: 'contraction in workgroup memory',
    profile: 'desktop',
    m: [5, 15, 16, 17, 31],
    n: [4, 7, 63, 64, 65, 127, 128, 129, 132],
    k: [4, 31, 32, 33, 65],
    runs: 10,
  },
  {
    template: 'contraction in workgroup memory',
    profile: 'desktop',
    m: [32, 63, 64, 65],
    n: [31, 32, 33, 63, 64, 65, 68],
    k: [4, 15, 16, 17, 33],
    runs: 6,
  },
  {
    template: 'contraction in workgroup memory',
    profile: 'desktop',
    m: [128, 129],
    n: [128, 129, 131, 132],
    k: [15, 16, 17],
    runs: 4,
  },
];

describe.skipIf(withoutGpu)(`templates of contractions, seed ${seed}`, () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  test.each(rows.filter(({ template }) => hasShuffles || template !== 'contraction by shuffles'))(
    '$template, rows $m',
    async ({ template, profile, m, n, k, runs }) => {
      let used = 0;
      const tries = share(Math.ceil(runs / 2), 2 * runs);
      await fc.assert(
        fc.asyncProperty(contractArbitrary(m, n, k), fc.boolean(), async ({ graph, feeds }, hurries) => {
          const own = hurries ? gpu[profile] : unhurried(gpu[profile]);
          const verdict = await judge(gpu, graph, feeds, { profile: own });
          if (verdict.templates.includes(template)) used++;
        }),
        { numRuns: tries, seed },
      );
      // Passes make a product of one element a multiplication, and batched or symbolic sizes may fit a neighbour better.
      expect(used).toBeGreaterThanOrEqual(tries / 4);
    },
    300_000,
  );

  // Neither ends with a tile.
  const tall = [
    [16, 110],
    [20, 65],
  ] as const;
  test
    .skipIf(!hasShuffles)
    .each(share([517], [516, 517]).flatMap((n) => tall.map(([rows, m]) => [rows, m, n] as const)))(
    'contraction by shuffles, tiles of %i rows, %i × %i results',
    async (rows, m, n) => {
      const { graph, feeds } = contractCase({
        m,
        n,
        k: 1023,
        prologue: 'plain',
        weight: 'parameter',
        epilogue: 'bias',
        batch: 'none',
        symbolic: 'none',
        dtype: 'f32',
      });
      const { plan, templates } = await judge(gpu, graph, feeds, { profile: unhurried(gpu.software) });
      expect(templates).toContain('contraction by shuffles');
      expect(plan.kernels.some((kernel) => kernel.wgsl.includes(`// contraction ${rows}×`))).toBe(true);
    },
    300_000,
  );

  test('more batches than a grid is long', async () => {
    const { graph, feeds } = contractCase({
      m: 33000,
      n: 2,
      k: 5,
      prologue: 'plain',
      weight: 'input',
      epilogue: 'none',
      batch: 'both',
      symbolic: 'none',
      dtype: 'f32',
    });
    for (const profile of gpu.profiles) await judge(gpu, graph, feeds, { profile });
  }, 300_000);
});
