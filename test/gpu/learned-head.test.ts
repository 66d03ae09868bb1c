// A step in which the language head learns, its classes in parts: gradients wait for their norm as they were made, and no wider.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { linear, linearCrossEntropy, randomParams, type Float } from '../../dsl/index.ts';
import { sgd } from '../../pipelines/train/optimizers/sgd.ts';
import { trainGraphs } from '../../pipelines/train/step/train-graph.ts';
import { share } from '../support/share.ts';
import { judge, openGpu, seed, withoutGpu, type Gpu } from './compare.ts';
import { trainingFeeds } from './contract-cases.ts';

describe.skipIf(withoutGpu)(`a head that learns, seed ${seed}`, () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  const cases = fc.record({
    rows: fc.constantFrom(1, 5, 33),
    width: fc.constantFrom(8, 36, 64),
    classes: fc.constantFrom(64, 130, 193),
    dtype: fc.constantFrom('f16', 'f16', 'f32'),
    scaled: fc.boolean(),
    clip: fc.constantFrom(undefined, 0.5),
    tied: fc.boolean(),
  });

  test('values of a step stay within their bounds', async () => {
    await fc.assert(
      fc.asyncProperty(cases, async ({ rows: s, width: e, classes: v, dtype, scaled, clip, tied }) => {
        const members = ['proj.weight', 'head'];
        const { step } = trainGraphs(
          randomParams(3, { dtype }),
          {
            groups: [{ paths: ['*'], members, lr: 1e-3 }],
            optimizer: sgd(),
            clip,
            scaling: scaled ? { initial: 8 } : undefined,
          },
          (t, p) => {
            const head = p.get('head', 'v e', { v, e });
            const x = t.input('x', 's e', { s, e }).cast(dtype);
            // Read twice, as the table of a tied model is: once under other names.
            const more = tied ? x.add(p.get('head', 'w e').at('w', 1)) : x;
            const hidden = linear(p.at('proj'), more, 'e', { size: e, bias: false });
            const labels = t.input('labels', 's', { s }, 'i32');
            return linearCrossEntropy<'s e', 'v e', Float, 's'>(hidden, head, labels, {
              partBytes: 4 * 64 * s,
              reduction: 'sum',
            });
          },
        );
        await judge(gpu, step, trainingFeeds(step), { profile: gpu.desktop });
      }),
      { numRuns: share(3, 40), seed },
    );
  }, 300_000);
});
