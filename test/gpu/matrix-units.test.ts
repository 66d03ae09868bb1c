// Contractions by matrix units: written for GPUs that have them and read by Dawn's WGSL compiler everywhere; run where the driver has them,
// which of software drivers Mesa's lavapipe does from 26.1 on.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { desktopGpu, type DeviceProfile } from '../../compiler/profile.ts';
import { attention, einsum, gradients, randomParams, rearrange, reduce, trace } from '../../dsl/index.ts';
import { adapterFacts, openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { share } from '../support/share.ts';
import { attentionGraph, rows } from './attention-cases.ts';
import { judge, openGpu, seed, withoutGpu, type Gpu } from './compare.ts';
import { contractArbitrary, contractCase, storedFeeds } from './contract-cases.ts';
import { withNearExponents } from './far-below.ts';
import { complaints, paperProfiles } from './matrix-profiles.ts';
import { tunables } from './tunables.ts';

const sizes = {
  m: [8, 15, 16, 17, 64, 100, 128, 129, 256],
  n: [16, 17, 36, 64, 65, 128, 132, 512],
  k: [16, 17, 31, 32, 33, 64, 68],
};

/** Every kind of mask; rows, keys and heads that fill blocks of 8 and 16, and others. */
const attentions = rows(
  { variant: 'full', queries: 16, keys: 16, head: 32, dtype: 'f16' },
  { variant: 'full', queries: 37, keys: 70, head: 20, dtype: 'f16' },
  { variant: 'causal', queries: 65, keys: 65, head: 64, dtype: 'f16' },
  { variant: 'bool mask', queries: 17, keys: 33, head: 40, dtype: 'f16' },
  { variant: 'float mask', queries: 33, keys: 17, head: 7, dtype: 'f16' },
  { variant: 'empty rows', queries: 19, keys: 24, head: 20, dtype: 'f16' },
  { variant: 'grouped', queries: 21, keys: 31, head: 36, dtype: 'f16' },
  { variant: 'two batches', queries: 16, keys: 40, head: 24, dtype: 'f16' },
  { variant: 'merged heads', queries: 25, keys: 30, head: 20, dtype: 'f16' },
  { variant: 'symbolic', queries: 26, keys: 51, head: 20, dtype: 'f16' },
);

/** A product with weights, a bias behind it, and so much of it that is summed. */
function longSum({ m, n, k }: { readonly m: number; readonly n: number; readonly k: number }) {
  const plain = { prologue: 'plain', weight: 'parameter', epilogue: 'bias', batch: 'none', symbolic: 'none' } as const;
  return contractCase({ m, n, k, ...plain, dtype: 'f16' });
}

/** Weights that fill blocks of 8 and 16 columns and terms: columns that leave the last block, panel or tile part empty, and batches of them. */
const inBlocks = fc
  .record({
    m: fc.constantFrom(8, 37, 64, 130),
    n: fc.constantFrom(16, 20, 64, 100, 132, 200),
    k: fc.constantFrom(16, 48, 64, 160),
    weight: fc.constantFrom('parameter', 'parameter, other layout'),
    epilogue: fc.constantFrom('none', 'bias', 'gelu', 'permuted', 'heads'),
    batch: fc.constantFrom('none', 'both', 'two', 'rows only'),
    symbolic: fc.constantFrom('none', 'm'),
  } as const)
  .map((choice) => contractCase({ ...choice, prologue: 'plain', dtype: 'f16' }));

/** One weight for many rows, as in prefill, and for one, as in decode. */
function manyRowsAndOne() {
  const graph = trace(randomParams(1, { dtype: 'f16' }), (t) => {
    const w = t.params.get('w', 'i o', { i: 64, o: 200 });
    const [many, one] = [
      t.input('many', 'n i', { n: 70, i: 64 }, 'f16'),
      t.input('one', 'n i', { n: 1, i: 64 }, 'f16'),
    ];
    return { many: einsum(many, w, 'n i, i o -> n o'), one: einsum(one, w, 'n i, i o -> n o') };
  });
  return { graph, feeds: storedFeeds(graph) };
}

/** Two products and an attention behind each, which do not wait for one another. */
function towers() {
  const graph = trace(randomParams(1, { dtype: 'f16' }), (t) => {
    const tower = (name: string, n: number) => {
      const x = t.input(`x_${name}`, 'n i', { n, i: 48 }, 'f16');
      const [q, k, v] = ['q', 'k', 'v'].map((part) =>
        einsum(x, t.params.get(`${name}.${part}`, 'h d i', { h: 2, d: 16, i: 48 }), 'n i, h d i -> h n d'),
      );
      if (q === undefined || k === undefined || v === undefined) throw new TypeError('three products');
      const keys = { k: rearrange(k, 'h n d -> h t=(n) d'), v: rearrange(v, 'h n d -> h t=(n) d') };
      return attention(q, keys.k, keys.v, { key: 't', along: 'd' });
    };
    return { a: tower('a', 40), b: tower('b', 37) };
  });
  return { graph, feeds: storedFeeds(graph) };
}

describe(`kernels with matrix units, seed ${seed}`, () => {
  let paper: Device;
  beforeAll(async () => {
    paper = await openDevice({ backend: 'null' });
  });
  afterAll(() => paper.close());
  test.each(paperProfiles)(
    'are WGSL for $name',
    async (profile) => {
      let used = 0;
      await fc.assert(
        fc.asyncProperty(contractArbitrary(sizes.m, sizes.n, sizes.k), async ({ graph }) => {
          // Dawn's null backend has the least that WebGPU allows.
          const { maxComputeWorkgroupStorageSize: maxWorkgroupBytes } = paper.facts.limits;
          const plan = compile(graph, { ...profile, maxWorkgroupBytes }, { verify: true });
          for (const kernel of plan.kernels.filter(({ wgsl }) => wgsl.includes('by matrix units'))) {
            used++;
            expect(await complaints(paper, kernel), kernel.wgsl).toEqual([]);
          }
        }),
        { numRuns: share(30, 200), seed },
      );
      expect(used).toBeGreaterThan(share(30, 200) / 10);
    },
    120_000,
  );

  test.each(paperProfiles)('of attention are WGSL for $name', async (profile) => {
    const { maxComputeWorkgroupStorageSize: maxWorkgroupBytes } = paper.facts.limits;
    for (const [name, c] of attentions) {
      const { kernels } = compile(attentionGraph(c).graph, { ...profile, maxWorkgroupBytes }, { verify: true });
      const own = kernels.filter(({ wgsl }) => wgsl.includes('by matrix units'));
      expect(own.length, name).toBeGreaterThan(0);
      for (const kernel of own) expect(await complaints(paper, kernel), kernel.wgsl).toEqual([]);
    }
  });

  test.each(paperProfiles)('of two towers in one dispatch are WGSL for $name', async (profile) => {
    const { maxComputeWorkgroupStorageSize: maxWorkgroupBytes } = paper.facts.limits;
    const { kernels } = compile(towers().graph, { ...profile, maxWorkgroupBytes }, { verify: true });
    const shared = kernels.filter(({ wgsl }) => (wgsl.match(/by matrix units/g) ?? []).length > 1);
    expect(shared.length).toBeGreaterThan(0);
    for (const kernel of shared) expect(await complaints(paper, kernel), kernel.wgsl).toEqual([]);
  });

  test.each(paperProfiles)('read packed weights where they lie, as WGSL for $name', async (profile) => {
    const { maxComputeWorkgroupStorageSize: maxWorkgroupBytes } = paper.facts.limits;
    let used = 0;
    await fc.assert(
      fc.asyncProperty(inBlocks, async ({ graph }) => {
        const plan = compile(graph, { ...profile, maxWorkgroupBytes }, { verify: true });
        for (const kernel of plan.kernels.filter(({ wgsl }) => wgsl.includes(', columns in blocks'))) {
          used++;
          expect(await complaints(paper, kernel), kernel.wgsl).toEqual([]);
        }
      }),
      { numRuns: share(20, 120), seed },
    );
    expect(used).toBeGreaterThan(share(20, 120) / 4);
  });

  test('read packed weights where they lie only where they do: parameters, whole blocks of terms, no tile that was measured to be faster', () => {
    const [profile = desktopGpu] = paperProfiles;
    const plain = { prologue: 'plain', epilogue: 'bias', batch: 'none', symbolic: 'none', dtype: 'f16' } as const;
    const isInBlocks = (k: number, weight: 'parameter' | 'input', tiles?: DeviceProfile['tiles']) => {
      const { graph } = contractCase({ m: 64, n: 64, k, weight, ...plain });
      const { kernels } = compile(graph, { ...profile, tiles }, { verify: true });
      return kernels.some(({ wgsl }) => wgsl.includes('columns in blocks'));
    };
    expect(isInBlocks(64, 'parameter')).toBe(true);
    // 72 = 4.5 × 16.
    expect(isInBlocks(72, 'parameter')).toBe(false);
    expect(isInBlocks(64, 'input')).toBe(false);
    const { graph } = contractCase({ m: 64, n: 64, k: 64, weight: 'parameter', ...plain });
    const [tunable] = tunables(graph, profile);
    const staged = tunable?.others.find((name) => !name.includes('in blocks')) ?? '';
    expect(isInBlocks(64, 'parameter', { [tunable?.key ?? '']: staged })).toBe(false);
  });

  test('of many rows and of one read one weight, packed once', () => {
    const [profile = desktopGpu] = paperProfiles;
    const plan = compile(manyRowsAndOne().graph, profile, { verify: true });
    expect(plan.buffers.filter(({ role }) => role === 'loaded')).toHaveLength(1);
    const read = plan.dispatches.map(({ kernel }) => plan.kernels[kernel]?.wgsl ?? '');
    expect(read.filter((wgsl) => wgsl.includes('block_of_terms'))).toHaveLength(2);
  });

  test('are not tried for what no template fits: the device’s limit is what is told', () => {
    const plain = { prologue: 'plain', weight: 'input', epilogue: 'roots', batch: 'none', symbolic: 'none' } as const;
    const { graph } = contractCase({ m: 64, n: 64, k: 64, ...plain, dtype: 'f32' });
    expect(() => compile(graph, { ...desktopGpu, maxBindings: 2 })).toThrow(/a kernel needs \d+ buffers/);
  });

  test('of few results make a long sum in parts, side by side, and add them in order', () => {
    const [profile = desktopGpu] = paperProfiles;
    const templatesOf = (m: number, n: number, k: number): readonly string[] => {
      const { graph } = longSum({ m, n, k });
      const plan = compile(graph, profile, { verify: true });
      return plan.dispatches.map(({ kernel, grid }) => {
        const [, what] = /\/\/ (.+)/.exec(plan.kernels[kernel]?.wgsl ?? '') ?? [];
        return `${what ?? ''}: ${grid.join('×')}`;
      });
    };
    // 64 × 256 results: a tile of middle size holds 64 × 64, and 96 workgroups fill the device. 24 parts of 256 divide 6144.
    const [product = '', total = '', ...more] = templatesOf(64, 256, 6144);
    expect(product).toMatch(/by matrix units.*: 1×4×24$/);
    expect(total).toMatch(/^serial rows/);
    expect(more).toEqual([]);
    // A sum that is short, results that fill the device, a length that no number of parts divides into blocks: whole.
    for (const [m, n, k] of [
      [64, 256, 500],
      [1024, 1024, 4096],
      [64, 256, 16 * 257],
    ] as const)
      expect(templatesOf(m, n, k), `${m}×${n}×${k}`).toHaveLength(1);
  });

  test('are for half precision on both sides, enough rows, and a number of lanes that is known', () => {
    const made = (choice: Partial<Parameters<typeof contractCase>[0]>, profile = paperProfiles[0] ?? desktopGpu) => {
      const plain = {
        prologue: 'plain',
        weight: 'parameter',
        epilogue: 'bias',
        batch: 'none',
        symbolic: 'none',
      } as const;
      const { graph } = contractCase({ m: 64, n: 64, k: 64, ...plain, dtype: 'f16', ...choice });
      return compile(graph, profile, { verify: true }).kernels.some(({ wgsl }) => wgsl.includes('by matrix units'));
    };
    expect(made({})).toBe(true);
    expect(made({ dtype: 'f32' })).toBe(false);
    expect(made({ m: 5 })).toBe(false);
    expect(made({}, { ...desktopGpu, subgroupSize: 32 })).toBe(false);
    expect(made({}, { ...(paperProfiles[0] ?? desktopGpu), subgroupSize: undefined })).toBe(false);
    // Every tile has four subgroups.
    const few = { ...(paperProfiles[0] ?? desktopGpu), subgroupSize: 64, maxWorkgroupThreads: 128 };
    expect(made({}, few)).toBe(false);
  });
});

// Mesa 25 has none, and nothing to run: what it would be given is read above.
const facts = withoutGpu ? undefined : await adapterFacts();

describe.skipIf((facts?.matrices ?? []).length === 0)(`products by matrix units, seed ${seed}`, () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  test.each([1, 2])(
    'are what the interpreter says, with %i blocks along each side',
    async (matrixBlocks) => {
      const [own] = gpu.profiles;
      const choices = { matrixBlocks, productWorkgroups: 2 };
      const profile: DeviceProfile = { ...own, name: 'matrix units', software: false, choices };
      let used = 0;
      const tries = share(16, 120);
      await fc.assert(
        fc.asyncProperty(contractArbitrary(sizes.m, sizes.n, sizes.k), async ({ graph, feeds }) => {
          const verdict = await judge(gpu, graph, feeds, { profile });
          if (verdict.templates.includes('contraction by matrix units')) used++;
        }),
        { numRuns: tries, seed },
      );
      expect(used).toBeGreaterThanOrEqual(tries / 8);
    },
    900_000,
  );

  test.each([
    [16, 32, 2048],
    [37, 64, 1024],
    [8, 100, 6144],
  ])('of %i × %i results with a sum of %i, made in parts', async (m, n, k) => {
    const [own] = gpu.profiles;
    const profile: DeviceProfile = { ...own, name: 'matrix units', software: false };
    // Fewer rows than half a block are no work for units.
    const [least = 8] = (own.matrices ?? []).map((unit) => unit.m);
    const { graph, feeds } = longSum({ m: Math.max(m, least), n, k });
    const { templates } = await judge(gpu, graph, feeds, { profile });
    // In front of both, weights are packed.
    expect(templates.slice(-2)).toEqual(['contraction by matrix units', 'serial rows']);
  });

  test('of packed weights where they lie are what the interpreter says', async () => {
    const [own] = gpu.profiles;
    let used = 0;
    for (const productWorkgroups of [1, 4, 64]) {
      const profile: DeviceProfile = { ...own, name: 'matrix units', software: false, choices: { productWorkgroups } };
      await fc.assert(
        fc.asyncProperty(inBlocks, async ({ graph, feeds }) => {
          const { plan } = await judge(gpu, graph, feeds, { profile });
          if (plan.kernels.some(({ wgsl }) => wgsl.includes('columns in blocks'))) used++;
        }),
        { numRuns: share(12, 80), seed },
      );
    }
    expect(used).toBeGreaterThan(share(12, 80));
  }, 900_000);

  test('of many rows and of one, which read one weight', async () => {
    const [own] = gpu.profiles;
    const profile: DeviceProfile = { ...own, name: 'matrix units', software: false };
    const { graph, feeds } = manyRowsAndOne();
    const { templates } = await judge(gpu, graph, feeds, { profile });
    expect(templates).toContain('contraction by matrix units');
    expect(templates).toContain('contraction of few rows');
  }, 400_000);

  test('of two towers, in one dispatch', async () => {
    const [own] = gpu.profiles;
    const profile: DeviceProfile = { ...own, name: 'matrix units', software: false };
    const { graph, feeds } = towers();
    const { plan } = await judge(gpu, graph, feeds, { profile });
    const shared = plan.kernels.filter(({ wgsl }) => (wgsl.match(/by matrix units/g) ?? []).length > 1);
    expect(shared.length).toBeGreaterThan(0);
  }, 400_000);

  test.each([68, 64])(
    'in every tile that may be measured, %i terms',
    async (k) => {
      const [own] = gpu.profiles;
      const profile: DeviceProfile = { ...own, name: 'matrix units', software: false };
      const { graph, feeds } = longSum({ m: 150, n: 132, k });
      const [tunable] = tunables(graph, profile);
      // Weights whose terms fill blocks of 8 may be staged or not.
      expect(tunable?.others.length).toBeGreaterThan(k % 8 === 0 ? 24 : 12);
      for (const tile of tunable?.others ?? []) {
        const tiles = { [tunable?.key ?? '']: tile };
        const { templates } = await judge(gpu, graph, feeds, { profile: { ...profile, tiles } });
        expect(templates, tile).toContain('contraction by matrix units');
      }
    },
    400_000,
  );

  test('of attention whose gradient is taken: the kernel stores the statistics of its rows', async () => {
    const [own] = gpu.profiles;
    const choices = { splitAttentionRows: 0, storedScores: 0 };
    const profile: DeviceProfile = { ...own, name: 'matrix units', software: false, choices };
    for (const [s, n] of [
      [16, 16],
      [19, 37],
    ] as const) {
      const graph = trace(randomParams(1, { dtype: 'f16' }), (t) => {
        const q = t.input('q', 'h s d', { h: 2, s, d: 16 }, 'f16');
        const [k, v] = [
          t.input('k', 'h t d', { h: 2, t: n, d: 16 }, 'f16'),
          t.input('v', 'h t d', { h: 2, t: n, d: 16 }, 'f16'),
        ];
        const y = attention(q, k, v, { key: 't', along: 'd' });
        const up = t.input('up', 'h s d', { h: 2, s, d: 16 });
        const [dq, dk, dv] = gradients(reduce(y.cast('f32').mul(up), 'h s d ->', 'sum'), [q, k, v]);
        return { y, dq, dk, dv };
      });
      const { templates } = await judge(gpu, graph, storedFeeds(graph), { profile, bound: withNearExponents });
      expect(templates).toContain('attention by matrix units');
      // Besides a sum of dy · y for each row, and three sums over the scores.
      expect(templates).toHaveLength(5);
    }
  }, 400_000);

  test.each(attentions)(
    'of attention: %s',
    async (_name, c) => {
      const [own] = gpu.profiles;
      // Few rows of a grid would go to the template that has a workgroup for each.
      const choices = { splitAttentionRows: 0 };
      const profile: DeviceProfile = { ...own, name: 'matrix units', software: false, choices };
      const { graph, symbols } = attentionGraph(c);
      const feeds = storedFeeds(graph, symbols, 2);
      const { templates } = await judge(gpu, graph, feeds, { profile, bound: withNearExponents });
      expect(templates).toContain('attention by matrix units');
    },
    400_000,
  );
});
