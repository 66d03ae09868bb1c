// What checkGolden and expectSame refuse: ordinary mistakes of porting, whose results a bound for the worst case would let through.
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  einsum,
  fullLike,
  gelu,
  layerNorm,
  linear,
  multiHeadAttention,
  randomParams,
  rearrange,
  reduce,
  relu,
  sampleBilinear,
  scatterAdd,
  softmax,
  trace,
  where,
  type Float,
  type Params,
  type Tensor,
} from '../../dsl/index.ts';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { checkGolden, expectSame } from '../../pipelines/testing/index.ts';
import { compareAll, exactly } from '../../pipelines/testing/expect-same.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { writeSafetensors } from '../../runtime/checkpoint/safetensors-write.ts';
import { withoutGpu } from '../gpu/compare.ts';

/** Numbers of PyTorch, for the tutorial's connector. */
const golden = join(import.meta.dirname, '../../docs/tutorial/surprise.safetensors');

interface Mistakes {
  readonly eps?: number;
  readonly approximate?: 'tanh' | 'quick';
  readonly sharpness?: number;
  readonly scale?: number;
}

function surprise(
  p: Params,
  map: Tensor<'b h w c', Float>,
  { eps = 1e-5, approximate, sharpness = 1, scale = 1 }: Mistakes,
): Tensor<'b n e', Float> {
  const normed = layerNorm(p.at('norm'), map, { eps });
  const regions = rearrange(normed, 'b (nh th) (nw tw) c -> b n=(nh nw) t=(th tw) c', { nh: 3, nw: 3 });
  const mean = reduce(regions, 'b n t c -> b n c', 'mean');
  const away = regions.sub(mean);
  const difference = reduce(away.mul(away), 'b n t c -> b n t', 'mean');
  const weight = softmax(difference.mul(p.get('sharpness', '')).mul(sharpness), 't');
  const picked = einsum(regions, weight, 'b n t c, b n t -> b n c');
  const hidden = gelu(linear(p.at('up'), picked.add(mean), 'hidden', { size: 32 }), approximate);
  return linear(p.at('down'), hidden, 'e', { size: 32 }).mul(scale);
}

describe('numbers of PyTorch', () => {
  const check = (mistakes: Mistakes) =>
    checkGolden(({ params, input }) => ({ tokens: surprise(params, input('map', 'b h w c'), mistakes) }), golden, {
      device: 'interpreter',
    });

  test('are what the connector gives, with room to spare', async () => {
    const { elements, unbounded, worst } = await check({});
    expect([elements, unbounded]).toEqual([2 * 9 * 32, 0]);
    expect(worst).toBeLessThan(0.25);
  });

  test.each<[string, Mistakes]>([
    ['the result times 1.001', { scale: 1.001 }],
    ['a layer norm with ε = 1e-3', { eps: 1e-3 }],
    ["GELU by tanh in place of erf's", { approximate: 'tanh' }],
    ['quick GELU', { approximate: 'quick' }],
    ['a softmax that is sharper by a hundredth', { sharpness: 1.01 }],
  ])('are not: %s', async (_name, mistakes) => {
    await expect(check(mistakes)).rejects.toThrow(
      /^checkGolden: element \d+ of output 'tokens' \(b \d, n \d, e \d+\) is \S+ in .*surprise\.safetensors, and \S+ is what the module gives: .*; so it is with \d+ of 576 elements\n.*the first that differs says where/,
    );
  });
});

/** Queries that look at a map, with an MLP behind, as deep as a connector is: the worst case knows no bound here. */
function resampler(
  p: Params,
  map: Tensor<'b h w c', Float>,
  depth: number,
  activation: (x: Tensor<'b q f', Float>) => Tensor<'b q f', Float> = gelu,
): Tensor<'b q c', Float> {
  let x: Tensor<'b q c', Float> = p.get('queries', 'b q c', { b: 1, q: 4, c: 32 });
  const seen = rearrange(map, 'b h w c -> b t=(h w) c');
  for (let layer = 0; layer < depth; layer++) {
    const own = p.at('layers', layer);
    const heads = { heads: 4, key: 't', along: 'c' } as const;
    x = x.add(multiHeadAttention(own.at('attention'), layerNorm(own.at('norm_1'), x), seen, seen, heads));
    const hidden = activation(linear(own.at('up'), layerNorm(own.at('norm_2'), x), 'f', { size: 64 }));
    x = x.add(linear(own.at('down'), hidden, 'c', { size: 32 }));
  }
  return layerNorm(p.at('norm'), x);
}

describe.skipIf(withoutGpu)('a deep graph', () => {
  let device: Device;
  const root = mkdtempSync(join(tmpdir(), 'opabinia-noise-'));
  beforeAll(async () => {
    device = await openDevice();
  });
  afterAll(() => {
    device.close();
    rmSync(root, { recursive: true });
  });
  const of = (depth: number, scale = 1, activation: typeof relu = gelu) =>
    trace(randomParams(3), (t) => ({
      y: resampler(t.params, t.input('map', 'b h w c', { b: 1, h: 3, w: 3, c: 32 }), depth, activation).mul(scale),
    }));
  const map = Float32Array.from({ length: 9 * 32 }, (_, i) => Math.sin(i));

  test.each([
    [1, gelu],
    [3, gelu],
    [1, relu],
    [3, relu],
  ] as const)('of %i layers of %o is compared element by element', async (depth, activation) => {
    const { elements, unbounded, worst } = await expectSame(of(depth, 1, activation), {}, { device });
    expect([elements, unbounded]).toEqual([4 * 32, 0]);
    expect(worst).toBeGreaterThan(0);
    expect(worst).toBeLessThan(0.5);
  });

  test.each([gelu, relu] as const)('of %o whose numbers are elsewhere is refused', (activation) => {
    const params = randomParams(3);
    const [right, wrong] = [1, 1.001].map((scale) =>
      exactly(of(3, scale, activation), params, { map }, undefined).get('y'),
    );
    const outside = [...(right?.data ?? [])].filter(
      (value, i) => Math.abs(value - (wrong?.data[i] ?? NaN)) > (right?.error[i] ?? NaN),
    );
    expect(outside.length).toBeGreaterThan(64);
  });

  test('that adds up by position may be added up one after the other', () => {
    const count = 40_000;
    const graph = trace(randomParams(1), (t) => ({
      y: scatterAdd(t.input('x', 'n', { n: count }), t.input('at', 'n', { n: count }, 'i32'), 'v', { v: 1 }),
    }));
    const x = Float32Array.from({ length: count }, (_, i) => 1 + Math.sin(i * 1.7));
    const exact = exactly(graph, randomParams(1), { x, at: new Int32Array(count) }, undefined);
    const oneByOne = x.reduce((total, value) => Math.fround(total + value), 0);
    expect(oneByOne).not.toBe(exact.get('y')?.data[0]);
    expect(compareAll(exact, () => [oneByOne], 1).worst).toBeLessThan(1);
    expect(() => compareAll(exact, () => [oneByOne * 1.001], 1)).toThrow(/is exact/);
  });

  test('of half precision too', async () => {
    const graph = trace(randomParams(3, { dtype: 'f16' }), (t) => ({
      y: gelu(linear(t.params.at('l'), t.input('x', 'n c', { n: 5, c: 64 }, 'f16'), 'e', { size: 48 })),
    }));
    const { elements, unbounded, worst } = await expectSame(graph, {}, { device });
    expect([elements, unbounded]).toEqual([5 * 48, 0]);
    expect(worst).toBeLessThan(0.5);
  });

  test('of half precision that overflows on the way is not held to a number', () => {
    const graph = trace(randomParams(1), (t) => {
      const square = (x: Tensor<'n', 'f16'>) => x.mul(x);
      const x = t.input('x', 'n', { n: 2 }, 'f16');
      return { y: square(x).sub(square(x).mul(0.5)) };
    });
    const y = exactly(graph, randomParams(1), { x: [300, 2] }, undefined).get('y');
    expect([...(y?.error ?? [])].every((error) => error === Infinity || error >= 0)).toBe(true);
    expect(y?.error[0]).toBe(Infinity);
  });

  test('that hangs on a comparison of rounded numbers is not bounded more than it is', async () => {
    const graph = trace(randomParams(1), (t) => {
      const x = t.input('x', 'n c', { n: 3, c: 40 });
      return { above: reduce(x.mul(x).gt(1).cast('f32'), 'n c -> n', 'sum') };
    });
    await expectSame(graph, {}, { device });
  });

  test('that hangs on a comparison of numbers that lie apart is bounded, and where they do not, either answer is right', () => {
    const graph = trace(randomParams(3), (t) => {
      const total = reduce(t.input('x', 'n', { n: 3 }), 'n -> ', 'sum');
      const y = resampler(t.params, t.input('map', 'b h w c', { b: 1, h: 3, w: 3, c: 32 }), 2, relu);
      return { y: y.add(where(total.ge(1), 5, fullLike(total, -5))) };
    });
    // In f32, 0.1 + 0.2 + 0.7 is 1 or its neighbour below, by the order of the sum.
    const [open, sure] = [0.7, 0.6].map((last) => {
      const y = exactly(graph, randomParams(3), { x: [0.1, 0.2, last], map }, undefined).get('y');
      return [Math.min(...(y?.error ?? [])), Math.max(...(y?.error ?? []))];
    });
    expect(open?.[0]).toBeGreaterThan(10);
    expect(sure?.[1]).toBeLessThan(1e-3);
  });

  test('that samples between pixels is bounded on a pixel, beside it, and outside', () => {
    const graph = trace(randomParams(1), (t) => {
      const at = reduce(t.input('at', 'q n', { q: 4, n: 3 }), 'q n -> q', 'sum');
      return { y: sampleBilinear(t.input('image', 'b h w c', { b: 1, h: 3, w: 3, c: 2 }), at, at) };
    });
    const at = [0.1, 0.2, 0.7, 0.1, 0.2, 0.5, 0.1, 0.2, 9, -0.1, -0.2, -9];
    const image = Array.from({ length: 18 }, (_, i) => Math.cos(i));
    const y = exactly(graph, randomParams(1), { at, image }, undefined).get('y');
    expect(Math.max(...(y?.error ?? [Infinity]))).toBeLessThan(1e-4);
  });

  test('and a file whose outputs are a million is refused', async () => {
    const file = join(root, 'wrong.safetensors');
    const read = new Map<string, { readonly shape: readonly number[]; readonly values: Float32Array<ArrayBuffer> }>();
    const params = randomParams(3);
    exactly(
      of(2),
      {
        ...params,
        read: (path: string, shape: number[]) => {
          const values = Float32Array.from(params.read(path, shape) as ArrayLike<number>);
          read.set(path, { shape, values });
          return values;
        },
      },
      { map },
      undefined,
    );
    read.set('input.map', { shape: [1, 3, 3, 32], values: map });
    read.set('output.y', { shape: [1, 4, 32], values: new Float32Array(4 * 32).fill(1e6) });
    writeSafetensors(
      file,
      [...read].map(([name, tensor]) => ({ name, dtype: 'F32' as const, ...tensor })),
    );
    const checked = checkGolden(({ params: p, input }) => ({ y: resampler(p, input('map', 'b h w c'), 2) }), file, {
      device: 'interpreter',
    });
    await expect(checked).rejects.toThrow(
      /element 0 of output 'y' \(b 0, q 0, c 0\) is 1000000 in .*; so it is with 128 of 128 elements/,
    );
  });
});
