// Column operands that change, copied into panels in front of products of many rows: what the copies show is what was there.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { lavapipe, type DeviceProfile } from '../../compiler/profile.ts';
import { gradients, linear, randomParams, reduce, rmsNorm, trace } from '../../dsl/index.ts';
import { adamW } from '../../pipelines/train/optimizers/adamw.ts';
import { trainGraphs } from '../../pipelines/train/step/train-graph.ts';
import { share } from '../support/share.ts';
import { judge, openGpu, seed, withoutGpu, type Gpu } from './compare.ts';
import { contractArbitrary, storedFeeds } from './contract-cases.ts';

const copying = (profile: DeviceProfile, panelRows: number): DeviceProfile => ({
  ...profile,
  choices: { ...profile.choices, panelRows },
});

describe.skipIf(withoutGpu)(`panels of operands, seed ${seed}`, () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  test('values stay within their bounds', async () => {
    let copied = 0;
    const runs = share(12, 60);
    await fc.assert(
      fc.asyncProperty(contractArbitrary([2, 9, 33], [64, 65, 68, 130], [64, 65, 72]), async ({ graph, feeds }) => {
        const profile = copying(gpu.software, 2);
        const { plan } = await judge(gpu, graph, feeds, { profile });
        const before = compile(graph, copying(gpu.software, Infinity));
        if (plan.dispatches.length > before.dispatches.length) copied++;
      }),
      { numRuns: runs, seed },
    );
    // Three weights of seven change from run to run, and half of all cases have a batch or a symbolic size.
    expect(copied).toBeGreaterThanOrEqual(runs / 12);
  }, 300_000);
});

describe.skipIf(withoutGpu)(`frozen weights side by side, read one by one by a gradient, seed ${seed}`, () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  const some = (...sizes: readonly number[]) => fc.constantFrom(...sizes);
  const cases = fc.record({
    rows: some(1, 5, 33),
    from: some(8, 36, 65),
    widths: fc.tuple(some(12, 64, 65), some(4, 20, 130), some(16, 68)),
    dtype: fc.constantFrom('f32', 'f16'),
    normed: fc.boolean(),
  });

  test('values stay within their bounds, and each lies in memory once', async () => {
    let together = 0;
    const runs = share(10, 60);
    await fc.assert(
      fc.asyncProperty(cases, async ({ rows, from, widths, dtype, normed }) => {
        const graph = trace(randomParams(3, { dtype }), (t) => {
          const input = t.input('x', 'n c', { n: rows, c: from }, dtype);
          const x = normed ? rmsNorm(t.params.at('norm'), input, { axis: 'c' }) : input;
          const [q, k, v] = widths.map((size, i) =>
            linear(t.params.at(['q', 'k', 'v'][i] ?? ''), x, 'o', { size, bias: false }),
          );
          if (q === undefined || k === undefined || v === undefined) throw new TypeError('three products');
          const gate = (y: typeof q, name: string) =>
            reduce(y.mul(t.input(name, 'n o', { n: rows, o: y.size('o') }, dtype)).cast('f32'), 'n o ->', 'sum');
          const loss = gate(q, 'to_q').add(gate(k, 'to_k')).add(gate(v, 'to_v'));
          const [slope] = gradients(loss, [input]);
          return slope === undefined ? { loss } : { loss, slope };
        });
        const [, profile] = gpu.profiles;
        const { plan } = await judge(gpu, graph, storedFeeds(graph), { profile });
        const weights = from * widths.reduce((sum, size) => sum + size, 0) * (dtype === 'f16' ? 2 : 4);
        const panels = plan.buffers.filter(({ role, name }) => role === 'loaded' && name.includes('panels'));
        const bytes = panels.reduce((sum, buffer) => sum + buffer.bytes, 0);
        // Panels are filled up to 64 columns, and to whole vectors.
        if (bytes > 0 && bytes <= 1.5 * weights) together++;
      }),
      { numRuns: runs, seed },
    );
    expect(together).toBeGreaterThanOrEqual(runs / 4);
  }, 300_000);
});

test('a step of training reads its weights as panels where rows are many, and a frozen weight once for each way', () => {
  const source = randomParams(1);
  const [rows, wide, narrow] = [1024, 2048, 1024];
  const step = (learns: readonly string[]) => {
    const groups = [{ paths: learns, members: learns, lr: 1e-3, weightDecay: 0 }];
    return trainGraphs(source, { groups, optimizer: adamW() }, (t, p) => {
      const x = t.input('x', 's e', { s: rows, e: narrow });
      const inner = linear(p.at('first'), x, 'f', { size: wide, bias: false });
      const y = linear(p.at('second'), inner, 'e', { size: narrow, bias: false });
      return reduce(y.mul(y), 's e ->', 'sum');
    }).step;
  };
  const profile = copying(lavapipe, 128);
  const plan = compile(step(['first.weight', 'second.weight']), profile, { verify: true });
  const products = plan.dispatches.filter(({ label }) => label.startsWith('contract'));
  // Forward, forward, towards `inner`, and a gradient for each weight.
  expect(products).toHaveLength(5);
  for (const { kernel } of products) expect(plan.kernels[kernel]?.wgsl).toContain('panel term column_in_panel');
  const frozen = compile(step(['first.weight']), profile, { verify: true });
  expect(frozen.buffers.filter(({ name }) => name.startsWith('second.panels'))).toHaveLength(2);
});
