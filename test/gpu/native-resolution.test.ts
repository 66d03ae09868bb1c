// Two symbolic axes merged, split and attended over, and images resized and sampled at sizes of a run: on the GPU as the interpreter has it.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { devices } from '../../compiler/devices.ts';
import { fixedParams, gridSample, randomParams, resize, trace, type Size, type Trace } from '../../dsl/index.ts';
import { cellCount, nativeResolution } from '../support/native-resolution.ts';
import { numbersFor } from '../compiler/judge.ts';
import { judge, openGpu, withoutGpu, type Gpu } from './compare.ts';

/** `OPABINIA_ALL=1` tries more sizes. */
const all = process.env['OPABINIA_ALL'] === '1';
const source = randomParams(5);
const params = (path: string, shape: readonly number[]) => source.read(path, [...shape]);
const symbol = (t: Trace, name: string): Size => t.symbol(name, { upTo: 11 });

describe.skipIf(withoutGpu)('sizes of a run on the GPU', () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  const grids = [
    [5, 3],
    [1, 11],
    [7, 7],
    [11, 1],
    [1, 1],
    [11, 11],
    [4, 8],
  ] as const;
  test.each(grids.slice(0, all ? undefined : 2))(
    'a transformer over %d × %d patches',
    async (h, w) => {
      const graph = trace(source, (t) => nativeResolution(t, { h: symbol(t, 'h'), w: symbol(t, 'w') }));
      const feeds = {
        inputs: new Map([['image', numbersFor('image', cellCount(h, w))]]),
        params,
        symbols: new Map(Object.entries({ h, w })),
      };
      await judge(gpu, graph, feeds, { profile: gpu.profiles[all || w === 3 ? 0 : 1] });
    },
    400_000,
  );

  test('images resized from and to sizes of a run', async () => {
    const graph = trace(fixedParams({}), (t) => {
      const x = t.input('x', 'b h w c', { b: 1, h: symbol(t, 'h'), w: symbol(t, 'w'), c: 3 });
      const to = { height: symbol(t, 'p'), width: 5 };
      return {
        linear: resize(x, { ...to, mode: 'bilinear' }),
        corners: resize(x, { ...to, mode: 'bilinear', alignCorners: true }),
        cubic: resize(x, { ...to, mode: 'bicubic' }),
        smooth: resize(x, { ...to, mode: 'bicubic', antialias: true }),
      };
    });
    for (const [h, w, p] of [[7, 4, 3], ...(all ? [[1, 1, 11] as const, [11, 5, 11] as const] : [])] as const) {
      const feeds = {
        inputs: new Map([['x', numbersFor('x', h * w * 3)]]),
        params,
        symbols: new Map(Object.entries({ h, w, p })),
      };
      await judge(gpu, graph, feeds, { profile: gpu.profiles[0] });
    }
  }, 400_000);
});

test('sampling an image of a run takes as few kernels as one of fixed sizes', () => {
  for (const { profile } of Object.values(devices)) {
    const kernels = (sizes: (t: Trace) => { readonly h: Size; readonly w: Size }): number => {
      const graph = trace(fixedParams({}), (t) => {
        const x = t.input('x', 'b h w c', { b: 1, c: 8, ...sizes(t) });
        const grid = t
          .input('g', 'b q s xy', { b: 1, q: 40, s: 4, xy: 2 })
          .add(t.input('o', 'q s xy', { q: 40, s: 4, xy: 2 }));
        return { y: gridSample(x, grid) };
      });
      return compile(graph, profile, { verify: true }).dispatches.length;
    };
    const fixed = kernels(() => ({ h: 9, w: 7 }));
    expect(fixed).toBeLessThanOrEqual(3);
    expect(kernels((t) => ({ h: symbol(t, 'h'), w: symbol(t, 'w') }))).toBeLessThanOrEqual(fixed);
  }
});
