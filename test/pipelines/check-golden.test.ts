// Gradients in a golden file: y = W x and the loss Σ y², whose gradients are 2 y xᵀ by W and 2 Wᵀ y by x.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { linear, reduce } from '../../dsl/index.ts';
import { checkGolden } from '../../pipelines/testing/index.ts';
import { writeSafetensors } from '../../runtime/checkpoint/safetensors-write.ts';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-golden-'));
afterAll(() => rmSync(folder, { recursive: true }));

const right: Readonly<Record<string, readonly [readonly number[], readonly number[]]>> = {
  'fc.weight': [
    [2, 2],
    [1, 2, -1, 3],
  ],
  'input.x': [
    [1, 2],
    [5, 1],
  ],
  'output.y': [
    [1, 2],
    [7, -2],
  ],
  'output.loss': [[], [53]],
  'grad.fc.weight': [
    [2, 2],
    [70, 14, -20, -4],
  ],
  'grad.input.x': [
    [1, 2],
    [18, 16],
  ],
};

async function check(tensors: typeof right, named = true) {
  const file = join(folder, 'golden.safetensors');
  writeSafetensors(
    file,
    Object.entries(tensors).map(([name, [shape, values]]) => ({
      name,
      dtype: 'F32',
      shape,
      values: Float32Array.from(values),
    })),
  );
  return checkGolden(
    ({ params, input }) => {
      const y = linear(params.at('fc'), input('x', 'b i'), 'o', { bias: false });
      const loss = reduce(y.mul(y), 'b o -> ', 'sum');
      return named ? { y, loss } : { y };
    },
    file,
    { device: 'interpreter' },
  );
}

test('gradients by parameters and by inputs are compared', async () => {
  expect((await check(right)).elements).toBe(2 + 1 + 4 + 2);
});

test.each([
  ['grad.fc.weight', [2, 2], [70, 14, -20, -4.01], 3],
  ['grad.input.x', [1, 2], [18.1, 16], 0],
] as const)('%s that is another is refused', async (name, shape, values, element) => {
  await expect(check({ ...right, [name]: [shape, values] })).rejects.toThrow(
    new RegExp(`element ${element} of output '${name}' `),
  );
});

test('a file with gradients needs a loss', async () => {
  const { 'output.loss': _, ...rest } = right;
  await expect(check(rest, false)).rejects.toThrow(
    /has 'grad.fc.weight', and the module gives no output 'loss'[^]*\{ loss \}/,
  );
});
