// Every template of attention, rows and maps, at the edges of its tiles. (Contractions have a file of their own.)
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { symbolSize, type Size } from '../../dsl/axis/axis.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import {
  attention,
  gelu,
  gradients,
  layerNorm,
  logSoftmax,
  randomParams,
  reduce,
  rmsNorm,
  softmax,
  trace,
  type Float,
  type Tensor,
} from '../../dsl/index.ts';
import type { Feeds } from '../../runtime/reference/reference.ts';
import { causalCases } from '../compiler/causal-cases.ts';
import { attentionGraph, rows, type AttentionCase } from './attention-cases.ts';
import { hasShuffles, judge, openGpu, withoutGpu, type Gpu } from './compare.ts';
import { storedFeeds } from './contract-cases.ts';
import { withNearExponents } from './far-below.ts';
import { share } from '../support/share.ts';

type Any = Tensor<string, Float>;
type Which = 'software' | 'desktop';

/** Those whose attention has a template of its own here. */
const whichHere: readonly Which[] = hasShuffles ? ['software', 'desktop'] : ['desktop'];

let gpu: Gpu;
beforeAll(async () => {
  if (!withoutGpu) gpu = await openGpu();
});
afterAll(() => {
  if (!withoutGpu) gpu.close();
});

async function expectTemplate(
  template: string,
  which: Which,
  graph: Graph,
  feeds: Feeds = storedFeeds(graph),
): Promise<void> {
  const masks = template.startsWith('attention') ? { bound: withNearExponents } : {};
  const { templates } = await judge(gpu, graph, feeds, { profile: gpu[which], ...masks });
  expect(templates).toContain(template);
}

// ---- attention --------------------------------------------------------------------------------------------------

describe.skipIf(withoutGpu)('attention', () => {
  // Every head size, and queries and keys around 8 lanes and 8 rows; the variants go round.
  const small = rows(
    { variant: 'full', queries: 9, keys: 17, head: 1 },
    { variant: 'full', queries: 1, keys: 16, head: 64 },
    { variant: 'causal', queries: 17, keys: 17, head: 7 },
    { variant: 'causal', queries: 7, keys: 15, head: 20 },
    { variant: 'bool mask', queries: 8, keys: 9, head: 64 },
    { variant: 'float mask', queries: 3, keys: 33, head: 80 },
    { variant: 'empty rows', queries: 9, keys: 8, head: 20 },
    { variant: 'per region', queries: 9, keys: 7, head: 64 },
    { variant: 'per region', queries: 33, keys: 19, head: 20 },
    { variant: 'grouped', queries: 5, keys: 17, head: 64 },
    { variant: 'two batches', queries: 7, keys: 1, head: 20 },
    { variant: 'merged heads', queries: 9, keys: 16, head: 20 },
    { variant: 'symbolic', queries: 6, keys: 11, head: 20 },
    { variant: 'full', queries: 5, keys: 31, head: 128 },
    { variant: 'full', queries: 3, keys: 17, head: 256 },
    { variant: 'causal', queries: 9, keys: 33, head: 64, dtype: 'f16' },
    { variant: 'merged heads', queries: 17, keys: 9, head: 7, dtype: 'f16' },
  );
  test.skipIf(!hasShuffles).each(small)('by shuffles: %s', async (_name, c) => {
    const { graph, symbols } = attentionGraph(c);
    await expectTemplate('attention by shuffles', 'software', graph, storedFeeds(graph, symbols, 2));
  });
  // Where an attention is much work, a subgroup takes as many rows as its result has room for: 32, 16 and 8 of these heads.
  test
    .skipIf(!hasShuffles)
    .each(
      rows(
        { variant: 'full', queries: 35, keys: 20, head: 20 },
        { variant: 'causal', queries: 67, keys: 67, head: 64, dtype: 'f16' },
        { variant: 'grouped', queries: 13, keys: 18, head: 128 },
        { variant: 'symbolic', queries: 30, keys: 41, head: 80 },
      ),
    )('by shuffles, many rows at once: %s', async (_name, c) => {
    const { graph, symbols } = attentionGraph(c);
    const profile = { ...gpu.software, choices: { ...gpu.software.choices, leastWork: 0 } };
    const { plan } = await judge(gpu, graph, storedFeeds(graph, symbols, 2), { profile });
    expect(plan.kernels.map(({ wgsl }) => wgsl).join()).toMatch(/attention, (?:32|16|8) rows by shuffles/);
  });
  // A software driver unrolls the loops over a head, for half a minute where it is 128 wide: large heads once, 256 only by the WGSL compiler.
  test.each(
    rows(
      ...small.map(([, c]) => c).filter((c) => c.head <= 20),
      { variant: 'grouped', queries: 5, keys: 9, head: 20 },
      { variant: 'float mask', queries: 3, keys: 33, head: 7 },
      { variant: 'causal', queries: 9, keys: 33, head: 20, dtype: 'f16' },
      { variant: 'bool mask', queries: 8, keys: 9, head: 64 },
      ...share<readonly AttentionCase[]>(
        [{ variant: 'full', queries: 3, keys: 16, head: 65 }],
        [
          { variant: 'full', queries: 3, keys: 16, head: 80 },
          { variant: 'full', queries: 5, keys: 31, head: 128 },
        ],
      ),
    ),
  )(
    'by threads: %s',
    async (_name, c) => {
      const { graph, symbols } = attentionGraph(c);
      await expectTemplate('attention by threads', 'desktop', graph, storedFeeds(graph, symbols, 2));
    },
    400_000,
  );
  // A software driver compiles each of these for ten seconds.
  const byWorkgroups = rows(
    { variant: 'full', queries: 1, keys: 128, head: 64 },
    { variant: 'causal', queries: 3, keys: 129, head: 20 },
    { variant: 'grouped', queries: 1, keys: 257, head: 7 },
    { variant: 'bool mask', queries: 2, keys: 191, head: 20 },
    { variant: 'per region', queries: 5, keys: 130, head: 20 },
    { variant: 'symbolic', queries: 1, keys: 150, head: 64 },
    { variant: 'empty rows', queries: 3, keys: 128, head: 1 },
    { variant: 'merged heads', queries: 1, keys: 200, head: 256, dtype: 'f16' },
  );
  const dear = new Set(['full', 'per region', 'symbolic']);
  test.each(
    share(
      byWorkgroups.filter(([, { variant }]) => !dear.has(variant)),
      byWorkgroups,
    ),
  )(
    'by workgroups: %s',
    async (_name, c) => {
      const { graph, symbols } = attentionGraph(c);
      await expectTemplate('attention by workgroups', 'desktop', graph, storedFeeds(graph, symbols, 2));
    },
    400_000,
  );
  // Lanes of a subgroup, where they are known, exchange values by shuffles; few rows have workgroups of up to 1,024 threads.
  const wide = rows(
    { variant: 'grouped', queries: 1, keys: 1030, head: 20 },
    { variant: 'bool mask', queries: 2, keys: 600, head: 7 },
    { variant: 'full', queries: 1, keys: 2100, head: 64, dtype: 'f16' },
    { variant: 'symbolic', queries: 1, keys: 1500, head: 128 },
  );
  test
    .skipIf(!hasShuffles)
    .each(
      share(
        [...byWorkgroups.filter(([, { variant }]) => variant === 'empty rows'), ...wide.slice(0, 1)],
        [...byWorkgroups, ...wide],
      ),
    )(
    'by workgroups with shuffles: %s',
    async (_name, c) => {
      const { graph, symbols } = attentionGraph(c);
      const profile = { ...gpu.software, name: 'lanes', software: false, matrices: [] };
      const feeds = storedFeeds(graph, symbols, 2);
      const { templates, plan } = await judge(gpu, graph, feeds, { profile, bound: withNearExponents });
      expect(templates).toContain('attention by workgroups');
      const wgsl = plan.kernels.find((kernel) => kernel.wgsl.includes('attention, one row'))?.wgsl ?? '';
      expect(wgsl).toContain('subgroupShuffleXor');
      const threads = c.keys >= 1024 ? 1024 : c.keys >= 512 ? 512 : 256;
      expect(wgsl).toContain(`@workgroup_size(${threads})`);
    },
    400_000,
  );
  // Four rows a workgroup: rows that end within four, keys within a tile of 256 and beyond one, heads that lanes do not divide.
  const byFour = rows(
    { variant: 'full', queries: 5, keys: 257, head: 20 },
    { variant: 'causal', queries: 9, keys: 300, head: 7 },
    { variant: 'grouped', queries: 6, keys: 129, head: 64, dtype: 'f16' },
    { variant: 'bool mask', queries: 4, keys: 130, head: 20 },
    { variant: 'float mask', queries: 7, keys: 200, head: 20 },
    { variant: 'empty rows', queries: 5, keys: 140, head: 1 },
    { variant: 'two batches', queries: 6, keys: 131, head: 8 },
    { variant: 'merged heads', queries: 10, keys: 150, head: 36, dtype: 'f16' },
    { variant: 'symbolic', queries: 6, keys: 190, head: 20 },
    { variant: 'full', queries: 8, keys: 128, head: 128 },
  );
  test.each(share(byFour.slice(0, 7), byFour))(
    'of four rows: %s',
    async (_name, c) => {
      const { graph, symbols } = attentionGraph(c);
      // Otherwise few rows have a workgroup each.
      const profile = { ...gpu.desktop, choices: { splitAttentionRows: 0 } };
      const feeds = storedFeeds(graph, symbols, 2);
      const { templates } = await judge(gpu, graph, feeds, { profile, bound: withNearExponents });
      expect(templates).toContain('attention of four rows');
    },
    400_000,
  );
  test.skipIf(!hasShuffles).each(share(byFour.slice(5, 6), byFour))(
    'of four rows with shuffles: %s',
    async (_name, c) => {
      const { graph, symbols } = attentionGraph(c);
      const profile = {
        ...gpu.software,
        name: 'lanes',
        software: false,
        matrices: [],
        choices: { splitAttentionRows: 0 },
      };
      const feeds = storedFeeds(graph, symbols, 2);
      const { templates } = await judge(gpu, graph, feeds, { profile, bound: withNearExponents });
      expect(templates).toContain('attention of four rows');
    },
    400_000,
  );
  test('of four rows whose gradient is taken: the kernel stores the statistics of its rows', async () => {
    const graph = trace(randomParams(1), (t) => {
      const q = t.input('q', 'h s d', { h: 2, s: 6, d: 16 });
      const [k, v] = [t.input('k', 'h t d', { h: 2, t: 133, d: 16 }), t.input('v', 'h t d', { h: 2, t: 133, d: 16 })];
      const y = attention(q, k, v, { key: 't', along: 'd' });
      const up = t.input('up', 'h s d', { h: 2, s: 6, d: 16 });
      const [dq, dk, dv] = gradients(reduce(y.mul(up), 'h s d ->', 'sum'), [q, k, v]);
      return { y, dq, dk, dv };
    });
    const profile = { ...gpu.desktop, choices: { splitAttentionRows: 0, storedScores: 0 } };
    const { templates } = await judge(gpu, graph, storedFeeds(graph), { profile, bound: withNearExponents });
    expect(templates).toContain('attention of four rows');
  }, 400_000);
  test('large scores do not overflow', async () => {
    const { graph } = attentionGraph({ variant: 'full', queries: 9, keys: 33, head: 20 });
    for (const which of whichHere)
      await expectTemplate(
        which === 'software' ? 'attention by shuffles' : 'attention by threads',
        which,
        graph,
        storedFeeds(graph, new Map(), 12),
      );
  });
});

// ---- causal attention: which keys are walked -----------------------------------------------------------------------

describe.skipIf(withoutGpu).each(whichHere)('attention by positions, for the profile of %s', (which) => {
  test.each(Object.entries(causalCases))('%s', async (name, build) => {
    const { graph, symbols, mask } = build();
    const feeds = storedFeeds(graph, symbols, 2);
    const { templates, compared, vacuous } = await judge(
      gpu,
      graph,
      { ...feeds, inputs: new Map([...feeds.inputs, ...mask]) },
      { profile: gpu[which], bound: withNearExponents },
    );
    expect(templates).toEqual([
      expect.stringMatching(which === 'software' ? 'attention by shuffles' : /attention by (threads|workgroups)/),
    ]);
    // What is computed with a mask's constant is rounded by more than any score.
    expect(vacuous, 'elements without a bound').toBe(
      ['a float mask', 'scaled behind the mask'].includes(name) ? compared : 0,
    );
  });
});

// ---- rows -------------------------------------------------------------------------------------------------------

type RowsOf = (x: Any) => Record<string, Any>;
const kinds: Readonly<Record<string, RowsOf>> = {
  softmax: (x) => ({ y: softmax(x, 'c') }),
  'logSoftmax and maximum': (x) => ({ y: logSoftmax(x, 'c'), most: reduce(x, 'n c -> n', 'max') as Any }),
  'sum, minimum and scaled': (x) => ({
    total: reduce(x, 'n c -> n', 'sum') as Any,
    least: reduce(x, 'n c -> n', 'min') as Any,
    y: x.mul(reduce(x, 'n c -> n', 'mean') as Any),
  }),
};

/** n rows of c elements; norms have parameters, and gelu follows one of them. */
function rowsGraph(kind: string, n: Size, c: number, dtype: Float): Graph {
  return trace(randomParams(1, { dtype }), (t) => {
    const x = t.input('x', 'n c', { n, c }, dtype) as Any;
    if (kind === 'layerNorm') return { y: gelu(layerNorm(t.params.at('norm'), x), 'tanh') };
    if (kind === 'rmsNorm') return { y: rmsNorm(t.params.at('norm'), x) };
    if (kind === 'rmsNorm and its total')
      return {
        y: rmsNorm(t.params.at('norm'), x),
        total: reduce(x.mul(t.params.get('gain', 'c', { c })), 'n c -> n', 'sum') as Any,
      };
    const made = kinds[kind];
    if (made === undefined) throw new Error(`no rows are called ${kind}`);
    return made(x);
  });
}

describe.skipIf(withoutGpu)('rows', () => {
  const lengths = [16, 17, 31, 32, 33, 65, 255, 256, 257, 260, 1025, 1028];
  const names = ['softmax', 'layerNorm', 'logSoftmax and maximum', 'rmsNorm', 'sum, minimum and scaled'];
  const cases = lengths.map(
    (c, i) => [names[i % names.length] ?? 'softmax', [3, 1, 65][i % 3] ?? 3, c, i % 4 === 3 ? 'f16' : 'f32'] as const,
  );
  test.skipIf(!hasShuffles).each(cases)('by subgroups: %s of %i rows of %i in %s', (kind, n, c, dtype) =>
    expectTemplate('rows', 'software', rowsGraph(kind, n, c, dtype)),
  );
  // Norms read their parameters once for two rows, where they are much work; the last of an odd number is alone.
  const n = symbolSize({ name: 'n', least: 1, bound: 70 });
  test.skipIf(!hasShuffles).each([
    ['layerNorm', 2, 64, 'f32'],
    ['layerNorm', 65, 260, 'f16'],
    ['rmsNorm', 3, 33, 'f32'],
    ['rmsNorm and its total', 7, 68, 'f32'],
    ['rmsNorm and its total', n, 65, 'f16'],
  ] as const)('by subgroups, two at once: %s of %o rows of %i in %s', async (kind, count, c, dtype) => {
    const graph = rowsGraph(kind, count, c, dtype);
    const profile = { ...gpu.software, choices: { ...gpu.software.choices, leastWork: 0 } };
    for (const given of typeof count === 'number' ? [count] : [1, 6, 69]) {
      const feeds = storedFeeds(graph, typeof count === 'number' ? undefined : new Map([['n', given]]));
      const { plan } = await judge(gpu, graph, feeds, { profile });
      expect(plan.kernels.some(({ wgsl }) => wgsl.includes('n_tile'))).toBe(true);
    }
  });
  test.each(cases)('by workgroups: %s of %i rows of %i in %s', (kind, n, c, dtype) =>
    expectTemplate('rows', 'desktop', rowsGraph(kind, n, c, dtype)),
  );

  test.each([
    ['softmax', 7],
    ['layerNorm', 15],
    ['logSoftmax and maximum', 1],
    ['sum, minimum and scaled', 12],
    ['rmsNorm', 4],
  ] as const)('serial, short: %s of %i', (kind, c) =>
    expectTemplate('serial rows', 'software', rowsGraph(kind, 65, c, 'f32')),
  );

  test.each([
    [17, 8],
    [33, 7],
    [16, 4],
    [5, 65],
  ] as const)('serial, over an axis that is not the last: %i of %i', async (c, last) => {
    const graph = trace(randomParams(1), (t) => {
      const x = t.input('x', 'n c e', { n: 3, c, e: last }) as Any;
      return {
        y: softmax(x, 'c'),
        total: reduce(x, 'n c e -> n e', 'sum') as Any,
        most: reduce(x, 'n c e -> e', 'max') as Any,
      };
    });
    await expectTemplate('serial rows', 'software', graph);
  });

  test('two reduced axes around one that stays', async () => {
    const graph = trace(randomParams(1), (t) => {
      const x = t.input('x', 'a b c d', { a: 3, b: 5, c: 4, d: 12 }) as Any;
      return { y: x.sub(reduce(x, 'a b c d -> b', 'mean') as Any), total: reduce(x, 'a b c d -> a c', 'sum') as Any };
    });
    for (const which of ['software', 'desktop'] as const) await expectTemplate('rows', which, graph);
  });

  test('a symbolic number of rows, and more rows than a grid is long', async () => {
    const totals = (n: Size): Graph =>
      trace(randomParams(1), (t) => ({ total: reduce(t.input('x', 'n c', { n, c: 17 }), 'n c -> n', 'sum') }));
    const graph = totals(symbolSize({ name: 'n', least: 1, bound: 90_000 }));
    for (const n of [1, 40_001])
      await expectTemplate('rows', 'software', graph, storedFeeds(graph, new Map([['n', n]])));
    await expectTemplate('rows', 'desktop', totals(65_537));
  });
});

// ---- maps -------------------------------------------------------------------------------------------------------

describe.skipIf(withoutGpu)('maps', () => {
  test.each([1, 3, 4, 63, 64, 65, 252, 256, 260])('%i elements, alone and broadcast', async (n) => {
    const graph = trace(randomParams(1), (t) => {
      const x = t.input('x', 'm n', { m: 3, n }) as Any;
      return { y: x.mul(t.input('w', 'n', { n }) as Any).add(t.input('r', 'm', { m: 3 }) as Any), z: gelu(x, 'exact') };
    });
    for (const which of ['software', 'desktop'] as const) await expectTemplate('map', which, graph);
  });

  test('more workgroups than a grid is long', async () => {
    // 65,536 workgroups of 64 single elements: one more than the grid's first dimension holds.
    const graph = trace(randomParams(1), (t) => ({
      y: (t.input('x', 'n', { n: 65_535 * 64 + 2 }) as Any).neg() as Any,
    }));
    await expectTemplate('map', 'software', graph);
  });

  test('a symbolic size whose bound needs a second grid dimension', async () => {
    const graph = trace(randomParams(1), (t) => ({
      y: (t.input('x', 'n', { n: t.symbol('n', { upTo: 70_000 * 64 }) }) as Any).mul(3),
    }));
    for (const n of [1, 100, 32_768 * 64 + 5])
      await expectTemplate('map', 'software', graph, storedFeeds(graph, new Map([['n', n]])));
  });
});
