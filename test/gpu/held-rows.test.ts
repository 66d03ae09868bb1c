// Rows that a lane keeps while they are walked: written out instead of looped over, loaded once, each exponential made once.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  logSoftmax,
  randomParams,
  reduce,
  softmax,
  trace,
  type Float,
  type Graph,
  type Tensor,
} from '../../dsl/index.ts';
import { hasShuffles, judge, openGpu, unhurried, withoutGpu, type Gpu } from './compare.ts';
import { storedFeeds } from './contract-cases.ts';

type Rows = Tensor<'n c', Float>;

const kinds: Readonly<Record<string, (x: Rows) => Record<string, Tensor>>> = {
  softmax: (x) => ({ y: softmax(x, 'c') }),
  'log-softmax, its largest': (x) => ({ y: logSoftmax(x, 'c'), most: reduce(x, 'n c -> n', 'max') }),
  'distance from the mean': (x) => ({ y: x.sub(reduce(x, 'n c -> n', 'mean')) }),
  'a sum of squares about the mean': (x) => {
    const away = x.sub(reduce(x, 'n c -> n', 'mean'));
    return { total: reduce(away.mul(away), 'n c -> n', 'sum'), y: away };
  },
};

const rowsOf = (kind: string, n: number, c: number, dtype: Float): Graph =>
  trace(randomParams(1, { dtype }), (t) => kinds[kind]?.(t.input('x', 'n c', { n, c }, dtype)) ?? {});

describe.skipIf(withoutGpu || !hasShuffles)('rows that a lane keeps', () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  const names = Object.keys(kinds);
  // Around the lanes and vectors of them, one element more and less, and the longest that are kept.
  const cases = [16, 17, 31, 33, 63, 65, 100, 129, 577, 768].map(
    (c, i) => [names[i % names.length] ?? '', [3, 1, 17][i % 3] ?? 3, c, i % 4 === 3 ? 'f16' : 'f32'] as const,
  );
  test.each(cases)('%s of %i rows of %i in %s', async (kind, n, c, dtype) => {
    const graph = rowsOf(kind, n, c, dtype);
    const { plan } = await judge(gpu, graph, storedFeeds(graph, new Map(), 4), { profile: unhurried(gpu.software) });
    const rows = plan.kernels.filter(({ wgsl }) => wgsl.includes('// rows'));
    expect(rows.length).toBeGreaterThan(0);
    for (const { wgsl } of rows) expect(wgsl).not.toContain('for (');
  });

  test('longer ones are walked again, and so is little work', async () => {
    for (const [c, profile] of [
      [1028, unhurried(gpu.software)],
      [577, gpu.software],
    ] as const) {
      const graph = rowsOf('softmax', 3, c, 'f32');
      const { plan } = await judge(gpu, graph, storedFeeds(graph), { profile });
      expect(plan.kernels.map(({ wgsl }) => wgsl).join()).toContain('for (');
    }
  });
});
