// Reductions over rows of one shape that share a kernel: values, and which may.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { desktopGpu, lavapipe } from '../../compiler/profile.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import { layerNorm, randomParams, rmsNorm, softmax, trace, type Float, type Tensor } from '../../dsl/index.ts';
import { judge, openGpu, withoutGpu, type Gpu } from './compare.ts';
import { storedFeeds } from './contract-cases.ts';

type Any = Tensor<string, Float>;

let gpu: Gpu;
beforeAll(async () => {
  if (!withoutGpu) gpu = await openGpu();
});
afterAll(() => {
  if (!withoutGpu) gpu.close();
});

/** Norms of `count` inputs, at paths of one layer. */
function norms(
  count: number,
  sizes: (i: number) => readonly [number, number],
  path: (i: number) => readonly (string | number)[] = (i) => ['layers', 0, `norm_${i}`],
  dtype: Float = 'f32',
): Graph {
  return trace(randomParams(1, { dtype }), (t) =>
    Object.fromEntries(
      Array.from({ length: count }, (_, i) => {
        const [n, c] = sizes(i);
        const x = t.input(`x${i}`, 'n c', { n, c }, dtype) as Any;
        return [`y${i}`, i % 2 === 0 ? layerNorm(t.params.at(...path(i)), x) : rmsNorm(t.params.at(...path(i)), x)];
      }),
    ),
  );
}

const dispatches = (graph: Graph): number => compile(graph, desktopGpu, { verify: true }).dispatches.length;

describe('reductions side by side', () => {
  // Two tensors for each norm besides its weights: x, y, and up to two parameters.
  test('two norms of one layer are one kernel', () => expect(dispatches(norms(2, () => [5, 32]))).toBe(1));
  test('of other rows, or rows of another length, they stay apart', () => {
    expect(dispatches(norms(2, (i) => [5 + i, 32]))).toBe(2);
    expect(dispatches(norms(2, (i) => [5, 32 + 4 * i]))).toBe(2);
  });
  test('of two layers they stay apart', () =>
    expect(
      dispatches(
        norms(
          2,
          () => [5, 32],
          (i) => ['layers', i, 'norm'],
        ),
      ),
    ).toBe(2));
  test('a kernel has eight tensors at most', () => {
    const plan = compile(
      norms(6, () => [5, 32]),
      lavapipe,
      { verify: true },
    );
    expect(plan.dispatches.length).toBeGreaterThan(1);
    expect(plan.dispatches.length).toBeLessThan(6);
    for (const { bindings } of plan.dispatches) expect(bindings.length).toBeLessThanOrEqual(8);
  });
  test('one that reads the other, by whatever way, comes after it', () => {
    const graph = trace(randomParams(1), (t) => {
      const x = t.input('x', 'n c', { n: 7, c: 32 }) as Any;
      const first = softmax(x, 'c');
      // A product between them, and beside it another softmax at the depth of the second.
      const other = softmax(t.input('y', 'n c', { n: 7, c: 32 }) as Any, 'c');
      return { z: softmax(first.mul(other), 'c'), w: other.add(first) };
    });
    expect(dispatches(graph)).toBeGreaterThanOrEqual(2);
  });
});

describe.skipIf(withoutGpu)('reductions side by side on the GPU', () => {
  test.each([
    [2, 5, 32, 'f32'],
    [3, 1, 64, 'f32'],
    [4, 33, 17, 'f32'],
    [2, 9, 256, 'f16'],
    [5, 3, 5, 'f32'],
  ] as const)('%i norms of %i rows of %i in %s', async (count, n, c, dtype) => {
    const graph = norms(count, () => [n, c], undefined, dtype);
    for (const profile of gpu.profiles) await judge(gpu, graph, storedFeeds(graph), { profile });
  });

  test('of a chain of layers', async () => {
    const graph = trace(randomParams(1), (t) => {
      const [x, y] = [t.input('x', 'n c', { n: 7, c: 32 }) as Any, t.input('y', 'n c', { n: 7, c: 32 }) as Any];
      const [a, b] = [layerNorm(t.params.at('a'), x), rmsNorm(t.params.at('b'), y)];
      const [c, d] = [layerNorm(t.params.at('c'), a.add(y)), softmax(b.mul(x), 'c')];
      return { u: softmax(c.sub(d), 'c'), v: layerNorm(t.params.at('d'), d) };
    });
    for (const profile of gpu.profiles) await judge(gpu, graph, storedFeeds(graph), { profile });
  });
});
