// Products of the same rows whose weights are quantized: one kernel for several on a GPU, as many as its bindings allow, and none that stores
// what the codes stand for. Where they bind much, vectors of their layer lie in one buffer.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { layerNorm, linear, randomParams, rmsNorm, trace, type Graph } from '../../dsl/index.ts';
import type { Plan } from '../../compiler/plan.ts';
import { shapedParams } from '../../models/configs/param-shapes.ts';
import { randomInputs } from '../../pipelines/testing/random-inputs.ts';
import { quantizedSource } from '../../runtime/checkpoint/packed/quantized-source.ts';
import { share } from '../support/share.ts';
import { judge, openGpu, seed, withoutGpu, type Gpu } from './compare.ts';

interface Case {
  readonly format: 'q4' | 'q8';
  readonly dtype: 'f32' | 'f16';
  readonly rows: number;
  readonly terms: number;
  /** Of each product. */
  readonly columns: readonly number[];
  readonly bias: boolean;
  readonly norm: 'layer' | 'rms' | 'none';
  readonly bindings: 8 | 10 | 16;
  /** Vectors of numbered layers alone can lie in one buffer. */
  readonly inLayer: boolean;
}

function built({ format, dtype, rows, terms, columns, bias, norm, inLayer }: Case) {
  const path = inLayer ? 'layers.0' : 'tower';
  const shapes = new Map<string, readonly number[]>([
    [`${path}.norm.weight`, [terms]],
    [`${path}.norm.bias`, [terms]],
  ]);
  columns.forEach((size, i) => {
    shapes.set(`${path}.attention.p${i}.weight`, [size, terms]);
    shapes.set(`${path}.attention.p${i}.bias`, [size]);
  });
  const source = quantizedSource(shapedParams(shapes, randomParams(11, { dtype })), { format, least: 1 });
  const graph = trace(
    source,
    (t) => {
      const x = t.input('x', 'm k', { m: rows, k: terms }, dtype);
      const layer = inLayer ? t.params.at('layers', 0) : t.params.at('tower');
      const normed =
        norm === 'layer'
          ? layerNorm(layer.at('norm'), x, { axis: 'k' })
          : norm === 'rms'
            ? rmsNorm(layer.at('norm'), x, { axis: 'k' })
            : x;
      return Object.fromEntries(
        columns.map((size, i) => [
          `y${i}`,
          linear(layer.at('attention').at(`p${i}`), normed, `c${i}`, { size, bias }).mul(0.5 + i),
        ]),
      );
    },
    { unread: 'ignore' },
  );
  return { source, graph };
}

function feedsOf(graph: Graph, source: ReturnType<typeof built>['source']) {
  const given = randomInputs(graph, {}, 5);
  return {
    inputs: new Map(
      Object.entries(given).map(([name, value]) => [name, Float64Array.from(value as ArrayLike<number>)]),
    ),
    params: (path: string, shape: readonly number[]) => source.read(path, shape),
  };
}

const base: Case = {
  format: 'q4',
  dtype: 'f32',
  rows: 70,
  terms: 96,
  columns: [64, 64, 64],
  bias: true,
  norm: 'layer',
  bindings: 10,
  inLayer: true,
};

function products({ dispatches }: Plan): number {
  return dispatches.reduce((count, { label }) => count + label.split('contract').length - 1, 0);
}

describe.skipIf(withoutGpu)('quantized weights side by side', () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  const check = async (one: Case): Promise<Plan> => {
    const { source, graph } = built(one);
    const { plan } = await judge(gpu, graph, feedsOf(graph, source), {
      profile: { ...gpu.desktop, maxBindings: one.bindings },
    });
    // Nothing stores what the codes stand for: not while loading, and no kernel puts weights end to end.
    const weights = one.columns.reduce((sum, size) => sum + size * one.terms, 0);
    for (const { role, bytes } of plan.buffers) if (role === 'loaded') expect(bytes).toBeLessThan(2 * weights);
    expect(plan.dispatches.map(({ label }) => label).filter((label) => label.includes('concat'))).toEqual([]);
    return plan;
  };

  test.each([
    ['three with a norm and biases, ten bindings', base, 1],
    ['three with a norm and biases, sixteen bindings', { ...base, bindings: 16 }, 1],
    ['three, eight bindings: two and one', { ...base, bindings: 8, norm: 'none' }, 2],
    ['columns that are no whole panels', { ...base, columns: [65, 20, 4], bindings: 16, norm: 'rms' }, 1],
    ['eight bindings, where the norm has no room', { ...base, bindings: 8 }, 2],
    ['ten bindings and vectors apart: the norm has a kernel of its own', { ...base, inLayer: false }, 1],
    ['few rows', { ...base, rows: 3, bias: false }, 1],
    ['f16, eight bits', { ...base, dtype: 'f16', format: 'q8', norm: 'rms' }, 1],
  ] as const)(
    '%s',
    async (_, one, wanted) => {
      expect(products(await check(one))).toBe(wanted);
    },
    60_000,
  );

  test('vectors of the layer are one buffer where ten bindings would not do, and else stay apart', async () => {
    const bound = async (one: Case): Promise<number | undefined> => {
      const { dispatches } = await check(one);
      return dispatches.find(({ label }) => label.includes('contract'))?.bindings.length;
    };
    // Rows, the vectors by elements for the norm and by fours for biases, codes and scales of three weights, the result.
    expect(await bound(base)).toBe(1 + 2 + 6 + 1);
    // Rows, scale and shift of the norm, the biases joined at load, codes and scales of three weights, the result.
    expect(await bound({ ...base, bindings: 16 })).toBe(1 + 2 + 1 + 6 + 1);
  }, 60_000);

  test('drawn cases', async () => {
    const cases = fc.record<Case>({
      format: fc.constantFrom('q4', 'q8'),
      dtype: fc.constantFrom('f32', 'f16'),
      rows: fc.constantFrom(1, 3, 17, 64, 65),
      terms: fc.constantFrom(32, 40, 64, 96, 130),
      columns: fc.array(fc.constantFrom(4, 5, 20, 63, 64, 65, 128), { minLength: 2, maxLength: 4 }),
      bias: fc.boolean(),
      norm: fc.constantFrom('layer', 'rms', 'none'),
      bindings: fc.constantFrom(8, 10, 16),
      inLayer: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(cases, async (one) => {
        await check(one);
      }),
      { numRuns: share(8, 80), seed },
    );
  }, 300_000);
});
