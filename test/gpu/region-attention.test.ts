// Attention over the tokens of regions as one kernel, against the exact values: both templates, at the edges of their tiles.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { hasShuffles, judge, openGpu, unhurried, withoutGpu, type Gpu } from './compare.ts';
import { storedFeeds } from './contract-cases.ts';
import { withNearExponents } from './far-below.ts';
import { regionGraph, type RegionCase } from './region-cases.ts';
import { share } from '../support/share.ts';

let gpu: Gpu;
beforeAll(async () => {
  if (!withoutGpu) gpu = await openGpu();
});
afterAll(() => {
  if (!withoutGpu) gpu.close();
});

const cases = fc.record<RegionCase>({
  regions: fc.tuple(fc.constantFrom(1, 2, 'symbolic' as const), fc.integer({ min: 1, max: 3 })),
  heads: fc.constantFrom(1, 2, 3, 5, 16, 17),
  parts: fc.constantFrom([1], [3], [8], [9], [16], [17], [4, 9]),
  depth: fc.constantFrom(1, 3, 4, 12, 36, 37, 100),
  others: fc.constantFrom<RegionCase['others'][]>(
    [],
    [{ keys: 3, scores: 'product' }],
    [{ keys: 2, scores: 'stored' }],
    [
      { keys: 1, scores: 'stored' },
      { keys: 1, scores: 'product' },
    ],
  ),
  othersFirst: fc.boolean(),
  wanted: fc.constantFrom('sums', 'weights'),
  mask: fc.constantFrom('none', 'keys', 'regions'),
  norm: fc.constantFrom('none', 'own', 'read elsewhere'),
  dtype: fc.constantFrom('f32', 'f32', 'f16'),
});

describe.skipIf(withoutGpu)('attention over the tokens of regions', () => {
  const templates = [
    ...(hasShuffles ? (['region attention by shuffles'] as const) : []),
    'region attention by workgroups',
  ] as const;
  test.each(templates)(
    '%s',
    async (template) => {
      const profile = template.endsWith('shuffles') ? gpu.software : gpu.desktop;
      await fc.assert(
        fc.asyncProperty(cases, fc.boolean(), fc.nat(1000), async (c, isLarge, seed) => {
          const { graph, symbols } = regionGraph({ ...c, dtype: profile.f16 ? c.dtype : 'f32' });
          const verdict = await judge(gpu, graph, storedFeeds(graph, symbols, 1 + (seed % 3)), {
            profile: isLarge ? unhurried(profile) : profile,
            bound: withNearExponents,
          });
          expect(verdict.templates).toContain(template);
        }),
        { numRuns: share(14, 60), seed: 20261130, endOnFailure: true },
      );
    },
    400_000,
  );
});
