// Random graphs through the whole walk: compiled, run on the GPU and compared with the exact values. `OPABINIA_SEED=7` tries other graphs.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { passes } from '../../compiler/passes/index.ts';
import { graphArbitrary } from '../support/generate.ts';
import { layerSteps } from '../support/layer-steps.ts';
import { share } from '../support/share.ts';
import { judge, openGpu, seed, withoutGpu, type Gpu } from './compare.ts';

describe.skipIf(withoutGpu)(`random graphs on the GPU, seed ${seed}`, () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());
  const which = fc.constantFrom(0, 1);

  test('with all passes', async () => {
    let [compared, vacuous] = [0, 0];
    await fc.assert(
      fc.asyncProperty(graphArbitrary(), which, async ({ graph, feeds }, profile) => {
        const verdict = await judge(gpu, graph, feeds, { profile: gpu.profiles[profile] ?? gpu.profiles[0] });
        compared += verdict.compared;
        vacuous += verdict.vacuous;
      }),
      { numRuns: share(90, 220), seed },
    );
    // A bound as large as the values themselves would let anything pass.
    expect(vacuous).toBeLessThan(0.02 * compared);
  }, 900_000);

  test('layers of quantized weights, with caches', async () => {
    const layers = graphArbitrary({ steps: layerSteps, dtypes: ['f32', 'f16'], maxElements: 4096 });
    const limits = fc.constantFrom(8, 10, 16);
    await fc.assert(
      fc.asyncProperty(layers, which, limits, async ({ graph, feeds }, profile, most) => {
        const own = gpu.profiles[profile] ?? gpu.profiles[0];
        await judge(gpu, graph, feeds, { profile: { ...own, maxBindings: Math.min(most, own.maxBindings) } });
      }),
      { numRuns: share(6, 120), seed: seed + 2 },
    );
  }, 900_000);

  test('with any passes in any order, weights packed or not', async () => {
    await fc.assert(
      fc.asyncProperty(
        graphArbitrary(),
        fc.shuffledSubarray([...passes]),
        fc.boolean(),
        which,
        async ({ graph, feeds }, some, packing, profile) => {
          await judge(gpu, graph, feeds, { profile: gpu.profiles[profile] ?? gpu.profiles[0], passes: some, packing });
        },
      ),
      { numRuns: share(45, 110), seed: seed + 1 },
    );
  }, 900_000);
});
