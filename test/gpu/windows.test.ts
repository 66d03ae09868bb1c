// Windows that overlap: depthwise convolutions and pools, where a thread computes neighbours and loads what they share once.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { lavapipe } from '../../compiler/profile.ts';
import { symbolSize, type Size } from '../../dsl/axis/axis.ts';
import type { Graph } from '../../dsl/graph/graph.ts';
import {
  avgPool2d,
  conv2d,
  gelu,
  maxPool2d,
  randomParams,
  reduce,
  trace,
  window,
  type Float,
  type Tensor,
} from '../../dsl/index.ts';
import { judge, openGpu, withoutGpu, type Gpu, unhurried } from './compare.ts';
import { storedFeeds } from './contract-cases.ts';

interface WindowCase {
  readonly kind: 'depthwise' | 'two for each channel' | 'maximum' | 'average';
  readonly h: Size;
  readonly w: number;
  readonly c: number;
  readonly kernel: number;
  readonly stride?: number;
  readonly dilation?: number;
  readonly padding?: number;
  readonly dtype?: Float;
}

function windowGraph({
  kind,
  h,
  w,
  c,
  kernel,
  stride = 1,
  dilation = 1,
  padding = Math.floor(kernel / 2),
  dtype = 'f32',
}: WindowCase): Graph {
  return trace(randomParams(1, { dtype }), (t) => {
    const x = t.input('x', 'b h w c', { b: 2, h, w, c }, dtype);
    if (kind === 'maximum') return { y: maxPool2d(x, { kernel, stride, dilation, padding }) };
    if (kind === 'average') return { y: avgPool2d(x, { kernel, stride, padding }) };
    const size = kind === 'depthwise' ? c : 2 * c;
    const y: Tensor<'b h w o', Float> = conv2d(t.params.at('dw'), x, {
      out: 'o',
      size,
      kernel,
      stride,
      dilation,
      padding,
      groups: c,
    });
    return { y: gelu(y, 'tanh') };
  });
}

const cases: readonly WindowCase[] = [
  // 8, 4, 2 neighbours and none; four channels in a vector and not.
  { kind: 'depthwise', h: 5, w: 16, c: 8, kernel: 7 },
  { kind: 'depthwise', h: 3, w: 12, c: 4, kernel: 3 },
  { kind: 'depthwise', h: 4, w: 6, c: 8, kernel: 5 },
  { kind: 'depthwise', h: 9, w: 7, c: 4, kernel: 7 },
  { kind: 'depthwise', h: 5, w: 8, c: 3, kernel: 3 },
  { kind: 'depthwise', h: 1, w: 8, c: 5, kernel: 8 },
  // Windows further apart, wider, of another type, without padding, wider than what they are taken of.
  { kind: 'depthwise', h: 9, w: 16, c: 4, kernel: 3, stride: 2 },
  { kind: 'depthwise', h: 9, w: 8, c: 4, kernel: 3, dilation: 2, padding: 2 },
  { kind: 'depthwise', h: 7, w: 16, c: 12, kernel: 7, dtype: 'f16' },
  { kind: 'depthwise', h: 7, w: 10, c: 4, kernel: 3, padding: 0 },
  { kind: 'depthwise', h: 2, w: 2, c: 4, kernel: 7 },
  { kind: 'two for each channel', h: 5, w: 8, c: 3, kernel: 3 },
  { kind: 'two for each channel', h: 3, w: 8, c: 4, kernel: 5, dtype: 'f16' },
  { kind: 'maximum', h: 6, w: 16, c: 4, kernel: 3, padding: 1 },
  { kind: 'maximum', h: 6, w: 17, c: 3, kernel: 2, stride: 2, padding: 0 },
  { kind: 'maximum', h: 8, w: 8, c: 5, kernel: 4, padding: 2, dtype: 'f16' },
  { kind: 'average', h: 6, w: 16, c: 4, kernel: 3, padding: 1 },
  { kind: 'average', h: 5, w: 9, c: 8, kernel: 2, padding: 0 },
];

let gpu: Gpu;
beforeAll(async () => {
  if (!withoutGpu) gpu = await openGpu();
});
afterAll(() => {
  if (!withoutGpu) gpu.close();
});

describe.skipIf(withoutGpu)('windows', () => {
  test.each(cases.map((c) => [JSON.stringify(c), c] as const))('%s', async (_name, c) => {
    const graph = windowGraph(c);
    for (const profile of [...gpu.profiles, unhurried(gpu.profiles[0])])
      await judge(gpu, graph, storedFeeds(graph), { profile });
  });

  test('a symbolic height', async () => {
    const graph = windowGraph({
      kind: 'depthwise',
      h: symbolSize({ name: 'h', least: 1, bound: 9 }),
      w: 8,
      c: 4,
      kernel: 3,
    });
    for (const h of [1, 6, 9])
      await judge(gpu, graph, storedFeeds(graph, new Map([['h', h]])), { profile: unhurried(gpu.profiles[0]) });
  });

  test('windows of windows, the maximum and the sum in one kernel', async () => {
    const graph = trace(randomParams(1), (t) => {
      const x = window(t.input('x', 'n w c', { n: 3, w: 18, c: 4 }), 'w', { into: ['w', 'k'], size: 3 });
      return {
        most: reduce(x, 'n w k c -> n w c', 'max'),
        total: reduce(x.mul(x), 'n w k c -> n w c', 'sum'),
        both: reduce(
          window(reduce(x, 'n w k c -> n w c', 'sum'), 'w', { into: ['w', 'k'], size: 5, stride: 2 }),
          'n w k c -> n w c',
          'min',
        ),
      };
    });
    for (const profile of [...gpu.profiles, unhurried(gpu.profiles[0])])
      await judge(gpu, graph, storedFeeds(graph), { profile });
  });
});

test('eight neighbours of a 7 × 7 filter read 14 vectors of the map and 7 of the filter for each of its rows', () => {
  const { kernels } = compile(windowGraph({ kind: 'depthwise', h: 16, w: 16, c: 8, kernel: 7 }), unhurried(lavapipe));
  expect(kernels).toHaveLength(1);
  const loads = kernels[0]?.wgsl.split('\n').filter((line) => /^\s*let .*\bx\d\[/.test(line)) ?? [];
  // Besides those 21, the bias of the channels.
  // And the bias of the channels.
  expect(loads).toHaveLength(22);
});
