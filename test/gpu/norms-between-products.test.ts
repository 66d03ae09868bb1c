// The norm between two products by matrix units: the kernel in front leaves statistics of segments, the one behind merges them and normalises.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { passes } from '../../compiler/passes/index.ts';
import { desktopGpu, type DeviceProfile } from '../../compiler/profile.ts';
import { adapterFacts, openDevice } from '../../runtime/device/dawn.ts';
import { load } from '../../runtime/program/program.ts';
import { share } from '../support/share.ts';
import { judge, openGpu, seed, withoutGpu, type Gpu } from './compare.ts';
import { storedFeeds } from './contract-cases.ts';
import { normGraph, normParams, type NormChoice } from './norm-cases.ts';
import { tunables } from './tunables.ts';

const facts = withoutGpu ? undefined : await adapterFacts();

/** Norms, readers, and columns that fill a segment and others. */
const cases: readonly NormChoice[] = [
  { norm: 'layer', behind: 'one', rows: 37, columns: 64 },
  { norm: 'rms', behind: 'three', rows: 16, columns: 100 },
  { norm: 'layer', behind: 'gated', rows: 21, columns: 67 },
  { norm: 'rms', behind: 'same name', rows: 70, columns: 96, stream: 'f32' },
  { norm: 'layer', behind: 'two norms', rows: 9, columns: 36 },
  { norm: 'layer', behind: 'three', rows: 19, columns: 288, symbolic: true },
];

const drawn: fc.Arbitrary<NormChoice> = fc.record({
  norm: fc.constantFrom('layer', 'rms'),
  behind: fc.constantFrom('one', 'three', 'gated', 'same name', 'two norms'),
  rows: fc.constantFrom(9, 16, 37, 64, 65, 130),
  columns: fc.constantFrom(16, 33, 36, 64, 100, 128, 160),
  terms: fc.constantFrom(16, 20, 64),
  stream: fc.constantFrom('f16', 'f32'),
  symbolic: fc.boolean(),
} as const);

const left = 'statistics left';
const merged = 'statistics of rows merged';

describe('kernels of a norm between products', () => {
  test.each([
    [16, 16],
    [16, 8],
    [8, 16],
  ])(
    'by matrix units of %i×%i are WGSL',
    async (m, n) => {
      const paper = await openDevice({ backend: 'null' });
      try {
        const { maxComputeWorkgroupStorageSize: maxWorkgroupBytes, maxStorageBuffersPerShaderStage: maxBindings } =
          paper.facts.limits;
        const profile: DeviceProfile = {
          ...desktopGpu,
          subgroupSize: 32,
          maxWorkgroupBytes,
          maxBindings,
          matrices: [{ m, n, k: 16, from: 'f16', to: 'f32' }],
          choices: { reducedRowsColumns: 1, productWorkgroups: 4 },
        };
        let used = 0;
        await fc.assert(
          fc.asyncProperty(drawn, async (choice) => {
            const { kernels } = compile(normGraph(choice), profile, { verify: true });
            for (const kernel of kernels.filter(({ wgsl }) => wgsl.includes(left) || wgsl.includes(merged))) {
              used++;
              // The null backend's subgroups may have 128 lanes, and workgroups must be whole numbers of them.
              const wgsl = kernel.wgsl.replace(/@workgroup_size\((32|64)\)/, '@workgroup_size(128)');
              expect(await paper.diagnose({ ...kernel, wgsl }), kernel.wgsl).toEqual([]);
            }
          }),
          { numRuns: share(15, 100), seed },
        );
        expect(used).toBeGreaterThan(share(15, 100));
      } finally {
        paper.close();
      }
    },
    120_000,
  );
});

describe.skipIf((facts?.matrices ?? []).length === 0)('a norm between products by matrix units', () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  test.each(cases.flatMap((choice) => [true, false].map((folds) => ({ ...choice, folds }))))(
    '$norm, $behind, $rows × $columns, its scale in the weights: $folds',
    async ({ folds, ...choice }) => {
      const [own] = gpu.profiles;
      const choices = { splitProductRows: 4, reducedRowsColumns: 1, productWorkgroups: 2 };
      const profile: DeviceProfile = { ...own, name: 'matrix units', software: false, choices };
      const graph = normGraph(choice);
      const symbols = new Map(choice.symbolic === true ? [['rows', choice.rows]] : []);
      const some = folds ? passes : passes.filter((pass) => pass.name !== 'algebra');
      const { plan } = await judge(gpu, graph, storedFeeds(graph, symbols), { profile, passes: some });
      const has = (what: string): number => plan.kernels.filter(({ wgsl }) => wgsl.includes(what)).length;
      expect(has(left)).toBe(1);
      expect(has(merged)).toBeGreaterThan(0);
      expect(plan.dispatches.some(({ label }) => label.startsWith('sum'))).toBe(false);
    },
    400_000,
  );

  test('of what is drawn', async () => {
    const [own] = gpu.profiles;
    for (const productWorkgroups of [1, 64]) {
      const choices = { reducedRowsColumns: 1, productWorkgroups };
      const profile: DeviceProfile = { ...own, name: 'matrix units', software: false, choices };
      let used = 0;
      await fc.assert(
        fc.asyncProperty(drawn, async (choice) => {
          const graph = normGraph(choice);
          const symbols = new Map(choice.symbolic === true ? [['rows', choice.rows]] : []);
          const { plan } = await judge(gpu, graph, storedFeeds(graph, symbols), { profile });
          if (plan.kernels.some(({ wgsl }) => wgsl.includes(left))) used++;
        }),
        { numRuns: share(6, 60), seed: seed + productWorkgroups },
      );
      expect(used).toBeGreaterThan(share(6, 60) / 2);
    }
  }, 1_800_000);

  test('has the same bits in every tile of either product', async () => {
    const [own] = gpu.profiles;
    const choices = { reducedRowsColumns: 1 };
    const profile: DeviceProfile = { ...own, name: 'matrix units', software: false, choices };
    const graph = normGraph({ norm: 'layer', behind: 'one', rows: 70, columns: 164 });
    const fill = (length: number): Float32Array => Float32Array.from({ length }, (_, i) => Math.sin(i * 1.7) + 0.3);
    const bits = async (tiles: DeviceProfile['tiles']): Promise<readonly unknown[]> => {
      const plan = compile(graph, { ...profile, tiles });
      expect(plan.kernels.filter(({ wgsl }) => wgsl.includes(left) || wgsl.includes(merged))).toHaveLength(2);
      const program = await load(plan, gpu.device, normParams);
      try {
        const { x, y } = await program.run({ x: fill(70 * 48), before: fill(70 * 164) });
        return [x?.data, y?.data];
      } finally {
        program.dispose();
      }
    };
    const usual = await bits(undefined);
    const found = tunables(graph, profile);
    expect(found).toHaveLength(2);
    for (const { key, others } of found) {
      expect(others.length).toBeGreaterThan(8);
      const tried = others.filter((_, i) => i % share(4, 1) === 0);
      for (const tile of tried) expect(await bits({ [key]: tile }), tile).toEqual(usual);
    }
  }, 900_000);
});
