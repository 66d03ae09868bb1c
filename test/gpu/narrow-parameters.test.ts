// Weights that are stored in 16 bits and read as f32, where the device has no half precision.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { desktopGpu } from '../../compiler/profile.ts';
import { gather, linear, randomParams, trace, type ParamSource } from '../../dsl/index.ts';
import { judge, openGpu, withoutGpu, type Gpu } from './compare.ts';

const [rows, inner, columns] = [3, 20, 24];

function graphOf(source: ParamSource) {
  return trace(source, (t) => {
    const ids = t.input('ids', 'n', { n: rows }, 'i32');
    const table = t.params.get('table', 'v c', { v: 8, c: inner });
    return { y: linear(t.params.at('fc'), gather(table, ids, 'v'), 'e', { size: columns }) };
  });
}

const half = randomParams(1, { dtype: 'f16' });
const stored: ParamSource = { ...half, dtype: 'f32', storedAs: () => 'f16' };

describe.skipIf(withoutGpu)('weights stored in half precision', () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  test('are wide on a device that has none', async () => {
    const graph = graphOf(stored);
    for (const own of gpu.profiles) {
      const { plan } = await judge(
        gpu,
        graph,
        {
          inputs: new Map([['ids', Float64Array.of(5, 0, 7)]]),
          params: (path, shape) => half.read(path, shape),
        },
        { profile: { ...own, f16: false } },
      );
      expect(plan.kernels.flatMap(({ features }) => features)).not.toContain('shader-f16');
      expect(plan.parameters.map(({ dtype }) => dtype)).toEqual(plan.parameters.map(() => 'f32'));
    }
  });
});

test('stay narrow on a device that has it, and a model in half precision is refused on one that has not', () => {
  const { parameters } = compile(graphOf(stored), desktopGpu, { verify: true });
  expect(parameters.some(({ dtype }) => dtype === 'f16')).toBe(true);
  expect(() => compile(graphOf(half), { ...desktopGpu, f16: false })).toThrow(/has no f16/);
});
