// Reductions over rows of one shape that share a kernel: values, and which may.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { desktopGpu, lavapipe } from '../../compiler/profile.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import {
  gelu,
  layerNorm,
  linear,
  randomParams,
  rmsNorm,
  softmax,
  trace,
  type Float,
  type Tensor,
} from '../../dsl/index.ts';
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

const dispatches = (graph: Graph): number =>
  compile(graph, desktopGpu, { verify: true, shareDispatches: false }).dispatches.length;

describe('horizontal fusion of reductions', () => {
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

describe.skipIf(withoutGpu)('horizontal fusion of reductions on the GPU', () => {
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

describe('towers beside one another', () => {
  /** Two towers of other widths that see the same tokens: norm, product, gate; `layers` times. */
  function towers(layers: number): Graph {
    return trace(randomParams(1), (t) => {
      // Something larger, beside which it does not matter that two towers are alive.
      const wide = linear(t.params.at('wide'), t.input('z', 'n c', { n: 40, c: 8 }), 'f', { size: 4096 });
      const z = linear(t.params.at('narrow'), gelu(wide), 'c', { size: 8 });
      return Object.fromEntries([
        ['z', z],
        ...[72, 100].map((c, i): [string, Tensor] => {
          let x = t.input(`x${i}`, 'n c', { n: 37 + i, c });
          for (let layer = 0; layer < layers; layer++) {
            const p = t.params.at(`tower_${i}`, layer);
            const inner = linear(p.at('up'), layerNorm(p.at('norm'), x), 'f', { size: 130 });
            x = x.add(linear(p.at('down'), gelu(inner), 'c', { size: c }));
          }
          return [`y${i}`, x];
        }),
      ]);
    });
  }

  test('share dispatches, layer by layer, and workgroup memory', () => {
    const kernels = { ...desktopGpu, choices: { reducedRowsColumns: Infinity } };
    const plan = compile(towers(3), kernels, { verify: true });
    const apart = compile(towers(3), kernels, { verify: true, shareDispatches: false });
    expect(apart.dispatches).toHaveLength(20);
    // Norms and products; what adds a residual binds more than two of them may.
    expect(plan.dispatches.length).toBeLessThanOrEqual(14);
    // As products make the norms.
    expect(compile(towers(3), desktopGpu, { verify: true, shareDispatches: false }).dispatches).toHaveLength(14);
    expect(compile(towers(3), desktopGpu, { verify: true }).dispatches.length).toBeLessThanOrEqual(8);
    const memory = plan.kernels.flatMap(({ wgsl }) => wgsl.match(/var<workgroup> \w+: array<[^;]*/g) ?? []);
    const shared = plan.kernels.find(
      ({ wgsl }) => (wgsl.match(/^fn part_/gm) ?? []).length > 1 && wgsl.includes('// contraction'),
    );
    expect(shared?.wgsl.match(/var<workgroup> /g)).toHaveLength(2);
    expect(memory.length).toBeGreaterThan(0);
  });

  /** Two maps and two products of rows whose number a run says, which do not wait for one another. */
  const openRows = (): Graph =>
    trace(randomParams(1), (t) => {
      const s = t.symbol('s', { atLeast: 0, upTo: 90 });
      const [x, y] = [t.input('x', 's c', { s, c: 64 }), t.input('y', 's c', { s, c: 64 })];
      return {
        x2: x.mul(2).add(y),
        y2: y.mul(3).sub(x),
        a: linear(t.params.at('a'), x, 'f', { size: 72 }),
        b: linear(t.params.at('b'), y, 'f', { size: 72 }),
        // As many rows, and other columns: not of one grid.
        c: linear(t.params.at('c'), y, 'f', { size: 300 }),
      };
    });

  test('of as many rows as a run says lie one behind the other', () => {
    const labels = compile(openRows(), desktopGpu, { verify: true }).dispatches.map(({ label }) => label);
    expect(labels.map((label) => label.split(' | ').length).sort((a, b) => a - b)).toEqual([1, 2, 2]);
  });

  test.skipIf(withoutGpu)(
    'of as many rows as a run says give what each gives alone',
    async () => {
      const graph = openRows();
      for (const s of [1, 33, 90, 0])
        await judge(gpu, graph, storedFeeds(graph, new Map([['s', s]])), { profile: gpu.desktop });
    },
    120_000,
  );

  test.skipIf(withoutGpu)(
    'give what each gives alone',
    async () => {
      const graph = towers(2);
      const { plan } = await judge(gpu, graph, storedFeeds(graph), { profile: gpu.desktop });
      expect(plan.dispatches.some(({ label }) => label.split(' | ').length > 1 && label.includes('contract'))).toBe(
        true,
      );
    },
    120_000,
  );
});
