// Two products of the same rows by matrix units, whose results meet in a map: gate and up of a gated MLP, in one kernel.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { desktopGpu, type DeviceProfile } from '../../compiler/profile.ts';
import { einsum, randomParams, silu, slice, trace } from '../../dsl/index.ts';
import { adapterFacts, openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { share } from '../support/share.ts';
import { judge, openGpu, seed, withoutGpu, type Gpu } from './compare.ts';
import { storedFeeds } from './contract-cases.ts';
import { complaints, paperProfiles } from './matrix-profiles.ts';
import { tunables } from './tunables.ts';

interface Gated {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  /** What the products are multiplied by. */
  readonly weights: 'parameters' | 'inputs' | 'one joined';
  readonly bias: boolean;
  readonly batches: number;
  readonly isSymbolic: boolean;
}

/** Two products of the same rows that meet in a map, as gate and up of a gated MLP. */
function gatedGraph({ m, n, k, weights, bias, batches, isSymbolic }: Gated) {
  const graph = trace(randomParams(1, { dtype: 'f16' }), (t) => {
    const rows = isSymbolic ? t.symbol('rows', { upTo: m }) : m;
    const x = t.input('x', 'b m k', { b: batches, m: rows, k }, 'f16');
    const both = weights === 'one joined' ? t.params.get('both', 'o k', { o: 2 * n, k }) : undefined;
    const [gate, up] = ['gate', 'up'].map((name, i) => {
      const own =
        both !== undefined
          ? slice(both, 'o', { start: i * n, size: n })
          : weights === 'inputs'
            ? t.input(name, 'o k', { o: n, k }, 'f16')
            : t.params.get(name, 'o k', { o: n, k });
      const product = einsum(x, own, 'b m k, o k -> b m o');
      return bias ? product.add(t.params.get(`${name}_bias`, 'o', { o: n })) : product;
    });
    if (gate === undefined || up === undefined) throw new TypeError('two products');
    return { y: silu(gate).mul(up) };
  });
  return { graph, feeds: storedFeeds(graph, new Map(isSymbolic ? [['rows', m]] : [])) };
}

const gated: fc.Arbitrary<Gated> = fc.record({
  m: fc.constantFrom(8, 16, 37, 64, 100, 129),
  n: fc.constantFrom(8, 17, 36, 64, 100, 132),
  k: fc.constantFrom(8, 17, 32, 64, 72),
  weights: fc.constantFrom('parameters', 'inputs', 'one joined'),
  bias: fc.boolean(),
  batches: fc.constantFrom(1, 2),
  isSymbolic: fc.boolean(),
} as const);

/** What the kernel of both says of itself. */
const ofBoth = 'of 2 products by matrix units';

describe(`kernels of gate and up, seed ${seed}`, () => {
  let paper: Device;
  beforeAll(async () => {
    paper = await openDevice({ backend: 'null' });
  });
  afterAll(() => paper.close());

  test.each(paperProfiles)('are WGSL for $name', async (profile) => {
    const { maxComputeWorkgroupStorageSize: maxWorkgroupBytes } = paper.facts.limits;
    const choices = { reducedRowsColumns: 1 };
    let used = 0;
    await fc.assert(
      fc.asyncProperty(gated, async (choice) => {
        const { kernels } = compile(
          gatedGraph(choice).graph,
          { ...profile, maxWorkgroupBytes, choices },
          { verify: true },
        );
        for (const kernel of kernels.filter(({ wgsl }) => wgsl.includes(ofBoth))) {
          used++;
          expect(await complaints(paper, kernel), kernel.wgsl).toEqual([]);
        }
      }),
      { numRuns: share(20, 120), seed },
    );
    expect(used).toBeGreaterThan(share(20, 120) / 4);
  });

  test('are one kernel, which takes weights as they lie, and nothing is stored between', () => {
    const [profile = desktopGpu] = paperProfiles;
    const usual = { m: 512, n: 256, k: 64, bias: false, batches: 1, isSymbolic: false } as const;
    for (const weights of ['parameters', 'inputs', 'one joined'] as const) {
      const { dispatches, kernels } = compile(gatedGraph({ ...usual, weights }).graph, profile, { verify: true });
      const main = dispatches.map(({ kernel }) => kernels[kernel]?.wgsl ?? '');
      expect(main, weights).toHaveLength(1);
      expect(main[0]).toContain(ofBoth);
      expect(main[0]?.includes('columns in blocks'), weights).toBe(weights !== 'inputs');
    }
  });

  test('stay one product, and the map a kernel behind it, where either alone would be made in parts of its sum', () => {
    const [profile = desktopGpu] = paperProfiles;
    const few = { m: 64, n: 1024, k: 4096, weights: 'parameters', bias: false, batches: 1, isSymbolic: false } as const;
    const { dispatches, kernels } = compile(gatedGraph(few).graph, profile, { verify: true });
    const texts = dispatches.map(({ kernel }) => kernels[kernel]?.wgsl ?? '');
    expect(texts).toHaveLength(2);
    expect(texts[0]).toContain('by matrix units');
    expect(texts[0]).not.toContain(ofBoth);
  });
});

// Mesa 25 has no matrix units: what it would be given is read above.
const facts = withoutGpu ? undefined : await adapterFacts();

describe.skipIf((facts?.matrices ?? []).length === 0)(`gate and up by matrix units, seed ${seed}`, () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  test('are what the interpreter says', async () => {
    const [own] = gpu.profiles;
    let used = 0;
    for (const productWorkgroups of [1, 4, 64]) {
      const choices = { reducedRowsColumns: 1, productWorkgroups };
      const profile: DeviceProfile = { ...own, name: 'matrix units', software: false, choices };
      await fc.assert(
        fc.asyncProperty(gated, async (choice) => {
          const { graph, feeds } = gatedGraph(choice);
          const { plan } = await judge(gpu, graph, feeds, { profile });
          if (plan.kernels.some(({ wgsl }) => wgsl.includes(ofBoth))) used++;
        }),
        { numRuns: share(12, 80), seed: seed + productWorkgroups },
      );
    }
    expect(used).toBeGreaterThan(share(12, 80));
  }, 900_000);

  test('in every tile that may be measured', async () => {
    const [own] = gpu.profiles;
    const profile: DeviceProfile = { ...own, name: 'matrix units', software: false };
    const choice = { m: 70, n: 132, k: 64, weights: 'parameters', bias: true, batches: 1, isSymbolic: false } as const;
    const { graph, feeds } = gatedGraph(choice);
    const [tunable] = tunables(graph, profile);
    expect(tunable?.others.length).toBeGreaterThan(16);
    for (const tile of tunable?.others ?? []) {
      const { plan } = await judge(gpu, graph, feeds, {
        profile: { ...profile, tiles: { [tunable?.key ?? '']: tile } },
      });
      expect(
        plan.kernels.some(({ wgsl }) => wgsl.includes(ofBoth)),
        tile,
      ).toBe(true);
    }
  }, 400_000);
});
