// A step of LoRA: what learns beside frozen matrices is never made as a matrix, and neither is its gradient.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { linear, randomParams, reduce, type Float, type Params, type Tensor, type Trace } from '../../dsl/index.ts';
import { compile } from '../../compiler/compile.ts';
import { desktopGpu } from '../../compiler/profile.ts';
import { shapedParams } from '../../models/configs/param-shapes.ts';
import { quantizedSource } from '../../runtime/checkpoint/packed/quantized-source.ts';
import { sgd } from '../../pipelines/train/optimizers/sgd.ts';
import { withLora } from '../../pipelines/train/step/lora.ts';
import { trainGraphs } from '../../pipelines/train/step/train-graph.ts';
import { share } from '../support/share.ts';
import { judge, openGpu, seed, withoutGpu, type Gpu } from './compare.ts';
import { trainingFeeds } from './contract-cases.ts';

interface Case {
  readonly rows: number;
  readonly from: number;
  readonly to: number;
  readonly rank: number;
  readonly alpha?: number | undefined;
  readonly dtype: Float & ('f16' | 'f32');
  readonly stored?: 'q4' | undefined;
}

/** Two linear maps, one behind the other. */
function stepOf({ rows: n, from, to, rank, alpha, dtype, stored }: Case) {
  const shapes = new Map([
    ['first.weight', [to, from]],
    ['second.weight', [from, to]],
  ]);
  const plain = shapedParams(shapes, randomParams(3, { dtype }));
  const source = stored === undefined ? plain : quantizedSource(plain, { format: stored });
  const lora = withLora(source, [{ paths: ['*'], rank, alpha }], [...shapes.keys()], 1);
  const loss = (t: Trace, params: Params): Tensor<'', 'f32'> => {
    const p = lora.wrap(params);
    const x = t.input('x', 'n c', { n, c: from }).cast(dtype) as Tensor<'n c', Float>;
    const inner = linear(p.at('first'), x, 'c', { size: to, bias: false });
    const y = linear(p.at('second'), inner, 'c', { size: from, bias: false }).cast('f32') as Tensor<'n c', 'f32'>;
    return reduce(y.mul(t.input('up', 'n c', { n, c: from })), 'n c ->', 'sum');
  };
  const groups = [{ paths: ['*'], members: lora.paths, lr: 1e-3 }];
  return trainGraphs(lora.source, { groups, optimizer: sgd() }, loss).step;
}

describe.skipIf(withoutGpu)(`additions of low rank, seed ${seed}`, () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  const cases = fc.record({
    rows: fc.constantFrom(1, 5, 33),
    from: fc.constantFrom(64, 72, 129),
    to: fc.constantFrom(64, 100, 130),
    rank: fc.constantFrom(1, 4),
    alpha: fc.constantFrom(undefined, 2),
    dtype: fc.constantFrom('f16', 'f32'),
  });

  test('values of a step stay within their bounds', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async (one) => {
        const graph = stepOf(one);
        await judge(gpu, graph, trainingFeeds(graph), { profile: gpu.desktop });
      }),
      { numRuns: share(3, 40), seed },
    );
  }, 300_000);
});

test.each([
  [undefined, undefined],
  [16, undefined],
  [16, 'q4'],
] as const)('a step holds rows and factors, and no matrix; alpha %s, stored %s', (alpha, stored) => {
  const [rows, side, rank] = [64, 2048, 8];
  const plan = compile(stepOf({ rows, from: side, to: side, rank, alpha, dtype: 'f16', stored }), desktopGpu, {
    verify: true,
  });
  expect(plan.memory.liveBound).toBeLessThan(2 * side * side);
  if (stored === 'q4') expect(plan.memory.parameters + plan.memory.loaded).toBeLessThan(2 * side * side);
  // Forward and towards the rows, of the second map alone; the factors add an eighth at most.
  const flops = plan.dispatches.reduce((sum, dispatch) => sum + dispatch.flops, 0);
  expect(flops).toBeLessThan(1.2 * 3 * 2 * rows * side * side);
});
