// Layers of few rows, as a decode step has them, and of many, as a prompt or a picture: norms made by the kernels of the products behind them,
// gate and up in one kernel, small maps in one dispatch. On the profile of a desktop GPU, whose templates these are.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  einsum,
  layerNorm,
  linear,
  randomParams,
  rearrange,
  rmsNorm,
  silu,
  slice,
  trace,
  type Graph,
  type ParamSource,
} from '../../dsl/index.ts';
import { shapedParams } from '../../models/configs/param-shapes.ts';
import { randomInputs } from '../../pipelines/testing/random-inputs.ts';
import { quantizedSource } from '../../runtime/checkpoint/packed/quantized-source.ts';
import { everything, share } from '../support/share.ts';
import { judge, openGpu, seed, withoutGpu, type Gpu } from './compare.ts';

interface Case {
  readonly dtype: 'f32' | 'f16';
  readonly weights: 'floats' | 'q4' | 'q8';
  readonly norm: 'rms' | 'layer';
  readonly rows: number;
  /** Elements of a row; heads and elements of each; elements of gate and up. */
  readonly width: number;
  readonly heads: number;
  readonly size: number;
  readonly inner: number;
  readonly bias: boolean;
  /** Something besides products reads the second norm, which then has a kernel of its own. */
  readonly isShown: boolean;
}

/** Two products of one norm whose heads meet, and a gated MLP behind another norm, both added to what comes in. */
function layer({ dtype, weights, norm, rows, width, heads, size, inner, bias, isShown }: Case) {
  const all = heads * size;
  const matrices: [string, readonly number[]][] = [
    ['q.weight', [all, width]],
    ['k.weight', [size, width]],
    ['o.weight', [width, all]],
    ['gate.weight', [inner, width]],
    ['up.weight', [inner, width]],
    ['down.weight', [width, inner]],
  ];
  const norms = ['norm_1', 'norm_2'];
  const vectors: [string, readonly number[]][] = [
    ...norms.map((path): [string, readonly number[]] => [`${path}.weight`, [width]]),
    ...(norm === 'rms' ? [] : norms.map((path): [string, readonly number[]] => [`${path}.bias`, [width]])),
  ];
  if (bias) vectors.push(['q.bias', [all]], ['k.bias', [size]], ['gate.bias', [inner]], ['up.bias', [inner]]);
  const plain = shapedParams(new Map([...matrices, ...vectors]), randomParams(11, { dtype }));
  const source = weights === 'floats' ? plain : quantizedSource(plain, { format: weights, least: 1 });
  const graph = trace(source, (t) => {
    const p = t.params;
    const x = t.input('x', 'm e', { m: rows, e: width }, dtype);
    const normed = (path: string, of: typeof x) =>
      norm === 'rms' ? rmsNorm(p.at(path), of) : layerNorm(p.at(path), of);
    const first = normed('norm_1', x);
    const q = rearrange(linear(p.at('q'), first, 'o', { bias }), 'm (h d) -> m h d', { d: size });
    const k = linear(p.at('k'), first, 'd', { bias });
    const scores = einsum(q, k, 'm h d, m d -> m h');
    const mixed = rearrange(einsum(scores, k, 'm h, m d -> m h d'), 'm h d -> m all=(h d)');
    const between = x.add(linear(p.at('o'), mixed, 'e', { bias: false }));
    const second = normed('norm_2', between);
    const gated = silu(linear(p.at('gate'), second, 'i', { bias })).mul(linear(p.at('up'), second, 'i', { bias }));
    const y = between.add(linear(p.at('down'), gated, 'e', { bias: false }));
    return isShown ? { y, second } : { y };
  });
  return { source, graph };
}

describe.skipIf(withoutGpu)(`layers of few rows, seed ${seed}`, () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  const judgeOf = (graph: Graph, source: ParamSource) => {
    const inputs = Object.entries(randomInputs(graph, {}, 5)).map(([name, value]): [string, Float64Array] => [
      name,
      Float64Array.from(value as ArrayLike<number>),
    ]);
    const params = (path: string, shape: readonly number[]) => source.read(path, shape);
    return judge(gpu, graph, { inputs: new Map(inputs), params }, { profile: gpu.desktop });
  };

  const cases = fc.record<Case>({
    dtype: fc.constantFrom('f32', 'f16'),
    weights: fc.constantFrom('floats', 'floats', 'q4', 'q8'),
    norm: fc.constantFrom('rms', 'layer'),
    // From 128 on a thread keeps 64 sums, which a software driver compiles for ten seconds.
    rows: fc.constantFrom(1, 2, 3, 4, 5, 7, 31, 33, 70, ...(everything ? [130] : [])),
    width: fc.constantFrom(16, 17, 33, 64, 100, 257, 300),
    heads: fc.constantFrom(1, 2, 3),
    size: fc.constantFrom(16, 20, 31, 64),
    inner: fc.constantFrom(16, 18, 65, 132, 260),
    bias: fc.boolean(),
    isShown: fc.constantFrom(false, false, true),
  });

  test(
    'are what the interpreter says, and norms have no kernels',
    async () => {
      await fc.assert(
        fc.asyncProperty(cases, async (one) => {
          const { source, graph } = layer(one);
          const { plan, templates } = await judgeOf(graph, source);
          const norms = templates.filter(
            (template) => template.includes('rows') && !template.startsWith('contraction'),
          );
          // Gate and up are made together, and what they become.
          const gated = plan.dispatches.filter(({ label }) => /^contract.*sigmoid.*mul.*mul$/.test(label));
          if (one.rows <= 4) {
            expect(norms).toHaveLength(one.isShown ? 1 : 0);
            expect(gated).toHaveLength(1);
          } else if (one.weights === 'floats') {
            // Of many rows where there are 64 columns to make of them, of queries and keys each or of both as one product.
            const least = 64;
            const second = one.isShown || one.inner < least ? 1 : 0;
            const first = [one.size < least ? 1 : 0, one.heads * one.size + one.size < least ? 1 : 0];
            expect(norms.length).toBeLessThanOrEqual(Math.max(...first) + second);
            expect(norms.length).toBeGreaterThanOrEqual(Math.min(...first) + second);
            expect(gated).toHaveLength(one.inner < least ? 0 : 1);
          }
        }),
        { numRuns: share(4, 150), seed },
      );
    },
    share(600_000, 3_600_000),
  );

  test('a vector along the rows is not a bias of the columns', async () => {
    const graph = trace(randomParams(3), (t) => {
      const x = t.input('x', 'm e', { m: 2, e: 64 });
      const all = einsum(x, t.params.get('w', 'o e', { o: 128, e: 64 }), 'm e, o e -> m o');
      const moved = all.add(t.params.get('v', 'm', { m: 2 }));
      return { y: silu(slice(moved, 'o', { size: 64 })).mul(slice(moved, 'o', { start: 64 })) };
    });
    await judgeOf(graph, randomParams(3));
  }, 300_000);

  test('quantized weights whose axes stand in another order are read end to end all the same', async () => {
    const shapes = new Map([
      ['a.weight', [64, 128]],
      ['b.weight', [128, 32]],
    ]);
    const source = quantizedSource(shapedParams(shapes, randomParams(3)), { format: 'q4', least: 1 });
    const graph = trace(source, (t) => {
      const x = t.input('x', 'm e', { m: 2, e: 128 });
      const a = einsum(x, t.params.get('a.weight', 'o e'), 'm e, o e -> m o');
      const b = einsum(x, t.params.get('b.weight', 'e o'), 'm e, e o -> m o');
      return { a: rearrange(a, 'm (h d) -> m h d', { d: 16 }), b: rearrange(b, 'm (h d) -> m h d', { d: 16 }) };
    });
    const { plan } = await judgeOf(graph, source);
    expect(plan.dispatches.filter(({ label }) => label.startsWith('contract'))).toHaveLength(1);
  }, 300_000);

  test('few quantized rows times several tensors are not weights of theirs', async () => {
    const source = quantizedSource(shapedParams(new Map([['queries.weight', [2, 128]]]), randomParams(3)), {
      format: 'q4',
      least: 1,
    });
    const graph = trace(source, (t) => {
      const queries = t.params.get('queries.weight', 'q e');
      const scores = (name: string) => einsum(queries, t.input(name, 'o e', { o: 32, e: 128 }), 'q e, o e -> q o');
      return {
        a: rearrange(scores('x'), 'q (h d) -> q h d', { d: 16 }),
        b: rearrange(scores('z'), 'q (h d) -> q h d', { d: 16 }),
      };
    });
    await judgeOf(graph, source);
  }, 300_000);
});
