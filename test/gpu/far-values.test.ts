// Values that samples of ordinary sizes do not reach: angles of long contexts, whole numbers at the ends of their range, pools of minus infinity.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { cos, fixedParams, maxPool2d, sin, trace, type Tensor, type Trace } from '../../dsl/index.ts';
import { load } from '../../pipelines/run/load.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { withoutGpu } from './compare.ts';

describe.skipIf(withoutGpu)('values far away', () => {
  let device: Device;
  beforeAll(async () => {
    device = await openDevice();
  });
  afterAll(() => device.close());

  async function run(build: (t: Trace) => Record<string, Tensor>, x: Float32Array): Promise<Record<string, number[]>> {
    const source = fixedParams({});
    const program = await load(trace(source, build), device, source);
    try {
      const outputs = await program.run({ x });
      return Object.fromEntries(Object.entries(outputs).map(([name, { data }]) => [name, Array.from(data)]));
    } finally {
      program.dispose();
    }
  }

  test('sine and cosine of angles up to a million keep their record’s promise', async () => {
    const x = Float32Array.from({ length: 4000 }, (_, i) => (i % 2 === 0 ? 1 : -1) * i * 250.7);
    const y = await run((t) => {
      const angle = t.input('x', 'n', { n: x.length });
      return { sin: sin(angle), cos: cos(angle) };
    }, x);
    for (const name of ['sin', 'cos'] as const)
      x.forEach((angle, i) => {
        const error = Math.abs((y[name]?.[i] ?? NaN) - Math[name](angle));
        if (!(error <= 2 ** -22 + Math.abs(angle) * 2 ** -30)) expect.fail(`${name} of ${angle} is off by ${error}`);
      });
  });

  test('floats become the nearest whole number of the dtype, and NaN becomes 0', async () => {
    const x = Float32Array.of(
      0.99,
      -1.99,
      2147483520,
      2147483648,
      -2147483648,
      -1e10,
      4294967040,
      1e10,
      Infinity,
      -Infinity,
      NaN,
    );
    const { i32, u32 } = await run((t) => {
      const given = t.input('x', 'n', { n: x.length });
      return { i32: given.cast('i32'), u32: given.cast('u32') };
    }, x);
    const [low, high, top] = [-(2 ** 31), 2 ** 31 - 1, 2 ** 32 - 1];
    expect(i32).toEqual([0, -1, 2147483520, high, low, low, high, high, high, low, 0]);
    expect(u32).toEqual([0, 0, 2147483520, 2147483648, 0, 0, 4294967040, top, top, 0, 0]);
  });

  test('padding of a maximum never wins', async () => {
    const { y } = await run(
      (t) => ({
        y: maxPool2d(t.input('x', 'b h w c', { b: 1, h: 3, w: 3, c: 1 }), { kernel: 3, stride: 1, padding: 1 }),
      }),
      new Float32Array(9).fill(-Infinity),
    );
    expect(y).toEqual(new Array(9).fill(-Infinity));
  });
});
