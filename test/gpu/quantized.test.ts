// Contractions whose weights are codes: every template that reads weights, at the edges of its tiles, on both profiles.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { einsum, gather, gelu, randomParams, trace, type Graph } from '../../dsl/index.ts';
import { shapedParams } from '../../models/configs/param-shapes.ts';
import { randomInputs } from '../../pipelines/testing/random-inputs.ts';
import { quantizedSource } from '../../runtime/checkpoint/packed/quantized-source.ts';
import { share } from '../support/share.ts';
import { judge, openGpu, seed, withoutGpu, type Gpu } from './compare.ts';

interface Case {
  readonly format: 'q4' | 'q8';
  readonly dtype: 'f32' | 'f16';
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly use: 'product' | 'product+gelu' | 'both ways' | 'rows of a table';
}

/** A graph over one quantized matrix, and its source. */
function built({ format, dtype, m, n, k, use }: Case) {
  const source = quantizedSource(shapedParams(new Map([['w.weight', [n, k]]]), randomParams(7, { dtype })), {
    format,
    least: 1,
  });
  const graph = trace(source, (t) => {
    const weight = t.params.get('w.weight', 'n k');
    if (use === 'rows of a table') return { y: gather(weight, t.input('ids', 'm', { m }, 'i32'), 'n') };
    const x = t.input('x', 'm k', { m, k }, dtype);
    const y = einsum(x, weight, 'm k, n k -> m n');
    if (use === 'product') return { y };
    if (use === 'product+gelu') return { y: gelu(y) };
    return { y: einsum(y, weight, 'm n, n k -> m k') };
  });
  return { source, graph };
}

function feedsOf(graph: Graph, { m, n }: Case, source: ReturnType<typeof built>['source']) {
  const ids = Int32Array.from({ length: m }, (_, i) => (i * 7919) % n);
  const given = randomInputs(graph, graph.outputs.get('y')?.op.kind === 'gather' ? { ids } : {}, 5);
  return {
    inputs: new Map(
      Object.entries(given).map(([name, value]) => [name, Float64Array.from(value as ArrayLike<number>)]),
    ),
    params: (path: string, shape: readonly number[]) => source.read(path, shape),
  };
}

describe.skipIf(withoutGpu)('products with quantized weights', () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  const cases = fc.record<Case>({
    format: fc.constantFrom('q4', 'q8'),
    dtype: fc.constantFrom('f32', 'f16'),
    m: fc.constantFrom(1, 2, 4, 5, 17, 65),
    n: fc.constantFrom(4, 5, 17, 63, 64, 65, 130),
    k: fc.constantFrom(32, 40, 64, 96, 99, 256),
    use: fc.constantFrom('product', 'product+gelu', 'both ways', 'rows of a table'),
  });

  test.each([0, 1] as const)(
    'profile %i',
    async (which) => {
      const templates = new Set<string>();
      await fc.assert(
        fc.asyncProperty(cases, async (one) => {
          const { source, graph } = built(one);
          const verdict = await judge(gpu, graph, feedsOf(graph, one, source), { profile: gpu.profiles[which] });
          verdict.templates.forEach((template) => templates.add(template));
          // Nothing is unpacked: no buffer but codes and scales is as large as the weight.
          expect(verdict.plan.load).toEqual([]);
          const bits = one.format === 'q4' ? 4 : 8;
          const padded =
            Math.ceil(one.n / Math.min(64, Math.ceil(one.n / 4) * 4)) * Math.min(64, Math.ceil(one.n / 4) * 4);
          // A buffer is a whole number of vectors.
          const whole = (bytes: number): number => Math.ceil(bytes / 16) * 16;
          const codes = padded * Math.ceil(one.k / 32) * 32;
          expect(verdict.plan.memory.parameters).toBe(
            whole((codes * bits) / 8) + whole((codes / 32) * (one.dtype === 'f16' ? 2 : 4)),
          );
        }),
        { numRuns: share(7, 80), seed },
      );
      expect(templates.size).toBeGreaterThan(1);
    },
    300_000,
  );
});
