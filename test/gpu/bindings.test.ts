// Kernels that have to do with few bindings: tensors read by vectors and by elements through one, concatenations in stages, stored operands.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { maskedSampler } from '../compiler/models.ts';
import { graphArbitrary } from '../support/generate.ts';
import { wideSteps } from '../support/wide-steps.ts';
import { judge, openGpu, seed, withoutGpu, type Gpu } from './compare.ts';
import { storedFeeds } from './contract-cases.ts';
import { everything } from '../support/share.ts';

describe.skipIf(withoutGpu)(`few bindings, seed ${seed}`, () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());
  const runs = everything ? 120 : 6;
  /** Nothing but bindings keeps kernels apart. */
  const eager = { fusedTensors: 64, kernelsInDispatch: 8 };

  test('random graphs with more operands than bindings', async () => {
    const wide = graphArbitrary({ steps: wideSteps, maxNodes: 60, sizes: [3, 4, 8, 5, 12, 16, 1] });
    await fc.assert(
      fc.asyncProperty(
        wide,
        fc.constantFrom(0, 1),
        fc.constantFrom(8, 10),
        fc.constantFrom({}, eager),
        async ({ graph, feeds }, which, most, choices) => {
          const device = gpu.profiles[which] ?? gpu.profiles[0];
          await judge(gpu, graph, feeds, { profile: { ...device, maxBindings: most, choices } });
        },
      ),
      { numRuns: runs, seed },
    );
  }, 900_000);

  /** Two results of one kernel are parts of one concatenation, one of them no whole vectors: they share a binding. */
  test('a sampler over encoders of 1, 1, 16 and 4 tokens a query', async () => {
    const graph = maskedSampler(1, 48, 7, [1, 1, 16, 4], 16);
    const { compared } = await judge(gpu, graph, storedFeeds(graph, new Map(), seed), { profile: gpu.profiles[0] });
    expect(compared).toBeGreaterThan(0);
  }, 240_000);
});
