// Re-associated attention on the GPU, against the graph as written.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { absorption } from '../../compiler/passes/absorption.ts';
import { runPasses } from '../../compiler/rewrite/pass.ts';
import { absorbedAttention } from '../compiler/absorption-cases.ts';
import { graphOf } from '../compiler/judge.ts';
import { Sketch } from '../compiler/rule-cases.ts';
import { judge, openGpu, withoutGpu, type Gpu } from './compare.ts';
import { storedFeeds } from './contract-cases.ts';

let gpu: Gpu;
beforeAll(async () => {
  if (!withoutGpu) gpu = await openGpu();
});
afterAll(() => {
  if (!withoutGpu) gpu.close();
});

describe.skipIf(withoutGpu)('projections through attention', () => {
  test.each([0, 1] as const)(
    'random parts on profile %i',
    async (which) => {
      let fired = 0;
      await fc.assert(
        fc.asyncProperty(fc.gen(), fc.nat(1000), async (draw, seed) => {
          const graph = graphOf(absorbedAttention(new Sketch((count) => draw(fc.nat, count - 1))));
          runPasses(graph, [absorption], (stage) => {
            fired += stage.fired.size;
          });
          await judge(gpu, graph, storedFeeds(graph, new Map(), seed), { profile: gpu.profiles[which] });
        }),
        { numRuns: which === 0 ? 12 : 6, seed: 20261124 + which, endOnFailure: true },
      );
      expect(fired).toBeGreaterThan(which === 0 ? 4 : 2);
      // A software driver compiles the tiles in workgroup memory for seconds each.
    },
    240_000,
  );
});
