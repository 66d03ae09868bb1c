// Every op record by itself on the GPU: each dtype it takes, random shapes and broadcasts, special values.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { order } from '../../dsl/graph.ts';
import { ops } from '../../dsl/ops/index.ts';
import { judge, openGpu, seed, withoutGpu, type Gpu } from './compare.ts';
import { caseArbitrary } from './op-cases.ts';

describe.skipIf(withoutGpu)(`ops on the GPU, seed ${seed}`, () => {
  let gpu: Gpu;
  beforeAll(async () => { gpu = await openGpu(); });
  afterAll(() => gpu.close());
  const exercised = new Map<string, Set<string>>();

  test.each(ops.map((op) => [op.name, op] as const))('%s', async (_name, op) => {
    await fc.assert(fc.asyncProperty(caseArbitrary(op, 'ordinary'), fc.constantFrom(0, 1), async ({ graph, feeds, dtype }, profile) => {
      await judge(gpu, graph, feeds, { profile: gpu.profiles[profile] ?? gpu.profiles[0] });
      for (const node of order(graph)) exercised.set(node.op.name, (exercised.get(node.op.name) ?? new Set()).add(node.op === op ? dtype : node.type.dtype));
    }), { numRuns: 40, seed });
  }, 120_000);

  test.each(ops.map((op) => [op.name, op] as const))('%s of special values', async (_name, op) => {
    await fc.assert(fc.asyncProperty(caseArbitrary(op, 'special'), async ({ graph, feeds }) => {
      await judge(gpu, graph, feeds, { profile: gpu.profiles[0] });
    }), { numRuns: 24, seed: seed + 1 });
  }, 120_000);

  test('all of them were exercised', () => {
    expect([...exercised.keys()].sort()).toEqual(ops.map((op) => op.name).sort());
  });
});
