// A norm, its rows under other names, and a product: what a connector with queries ends with. The product's workgroup makes the norm for itself,
// under the names that are below.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  layerNorm,
  linear,
  randomParams,
  rearrange,
  rmsNorm,
  softmax,
  trace,
  type Float,
  type Tensor,
} from '../../dsl/index.ts';
import type { DeviceProfile } from '../../compiler/profile.ts';
import { judge, openGpu, withoutGpu, type Gpu } from './compare.ts';
import { storedFeeds } from './contract-cases.ts';

type Rows = Tensor<'b q c', Float>;
type Tracer = Parameters<Parameters<typeof trace>[1]>[0];

describe.skipIf(withoutGpu)('a norm whose rows get other names', () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  const norms = {
    layer: (t: Tracer, x: Rows) => layerNorm(t.params.at('norm'), x),
    rms: (t: Tracer, x: Rows) => rmsNorm(t.params.at('norm'), x),
    softmax: (_t: Tracer, x: Rows) => softmax(x, 'c'),
  } as const;
  const names = {
    renamed: (x: Rows) => rearrange(x, 'b q c -> b n=(q) c'),
    'all renamed': (x: Rows) => rearrange(x, 'b q c -> m=(b) n=(q) d=(c)'),
    permuted: (x: Rows) => rearrange(x, 'b q c -> q b c'),
    exchanged: (x: Rows) => rearrange(x, 'b q c -> q=(b) b=(q) c'),
  } as const;
  const cases = Object.keys(norms).flatMap((norm) => Object.keys(names).map((name) => [norm, name] as const));

  test.each(cases)('%s, %s', async (norm, name) => {
    const [make, rename] = [norms[norm as keyof typeof norms], names[name as keyof typeof names]];
    let reduced = 0;
    for (const [b, q] of [
      [1, 3],
      [3, 13],
    ] as const) {
      const graph = trace(randomParams(1), (t) => {
        const x = t.input('x', 'b q c', { b, q, c: 20 });
        return { y: linear(t.params.at('out'), rename(make(t, x)), 'e', { size: 36 }) };
      });
      const profile: DeviceProfile = { ...gpu.desktop, choices: { reducedRowsColumns: 1 } };
      const { templates } = await judge(gpu, graph, storedFeeds(graph), { profile });
      if (!templates.some((template) => template.includes('rows') && !template.includes('contraction'))) reduced++;
    }
    expect(reduced).toBeGreaterThan(0);
  });
});
