// The judge of the GPU tests finds what it is for: wrong values by one rounding too many, memory read or written out of range.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { GraphPass } from '../../compiler/rewrite/pass.ts';
import type { Builder, Graph, Node } from '../../dsl/graph/graph.ts';
import { opByName } from '../../dsl/ops/index.ts';
import { typeAttrs } from '../../dsl/ops/source.ts';
import { parse } from '../../dsl/text/parse.ts';
import { evaluateWithError, isWithin } from '../../pipelines/testing/forward-error.ts';
import { judge, openGpu, withoutGpu, type Gpu } from './compare.ts';
import { storedFeeds } from './contract-cases.ts';

const product = parse(`graph
%0 = input name=a : f32 [m:5 k:33]
%1 = input name=b : f32 [n:7 k:33]
%2 = contract %0 %1 axes=[m n] : f32 [m:5 n:7]
%3 = tanh %2 : f32 [m:5 n:7]
return y=%3
`);

/** The same graph with its output scaled: a miscompile of a known size. */
function scaling(factor: number): GraphPass {
  const op = (builder: Builder, name: string, inputs: readonly Node[], attrs = {}): Node => {
    const found = opByName(name);
    if (found === undefined) throw new Error(`no op ${name}`);
    return builder.make(found, inputs, attrs);
  };
  return {
    name: 'wrong',
    why: 'a mistake',
    run: (graph: Graph, builder: Builder): Graph => ({
      ...graph,
      outputs: new Map(
        [...graph.outputs].map(([name, node]) => [
          name,
          op(builder, 'mul', [
            node,
            op(builder, 'const', [], { ...typeAttrs([], 'f32'), values: Float64Array.of(factor) }),
          ]),
        ]),
      ),
    }),
  };
}

describe.skipIf(withoutGpu)('what is wrong is found', () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  test('a result that is off by a few roundings', async () => {
    const feeds = storedFeeds(product);
    for (const profile of gpu.profiles) {
      await judge(gpu, product, feeds, { profile });
      await expect(judge(gpu, product, feeds, { profile, passes: [scaling(1 + 2 ** -12)] })).rejects.toThrow(
        /output 'y'.*element \d+ of 35 is/,
      );
    }
  });

  test('a write behind a buffer, and a read behind one', async () => {
    const [from, to] = await gpu.device.allocate([
      { label: 'from', bytes: 64, use: 'storage' },
      { label: 'to', bytes: 64, use: 'storage' },
    ]);
    if (from === undefined || to === undefined) throw new Error('no buffers');
    gpu.device.write(from, 0, new Float32Array(16).fill(1));
    const wgsl = (at: string) =>
      `@group(0) @binding(0) var<storage, read> x0: array<f32>;\n@group(0) @binding(1) var<storage, read_write> y0: array<f32>;\n@compute @workgroup_size(16) fn main(@builtin(local_invocation_index) t: u32) { ${at} }`;
    const run = async (text: string): Promise<void> => {
      const [kernel] = await gpu.device.compile([
        { name: 'k', wgsl: wgsl(text), access: ['read', 'read_write'], features: [] },
      ]);
      if (kernel === undefined) throw new Error('no kernel');
      const [group] = await gpu.device.bind([
        {
          kernel,
          ranges: [
            { buffer: from, offset: 0, bytes: 64 },
            { buffer: to, offset: 0, bytes: 64 },
          ],
        },
      ]);
      if (group !== undefined) await gpu.device.run([{ group, grid: [1, 1, 1] }], [], 60_000);
    };
    const ends = new Map([
      [from, undefined],
      [to, undefined],
    ]);
    await run('y0[t] = x0[t];');
    await gpu.device.expectUntouched(ends);
    await run('y0[t] = x0[t + 1u];');
    await expect(gpu.device.expectUntouched(new Map([[to, 60]]))).resolves.toBe(undefined); // the element behind the last one is rubbish, and shows as such
    await run('y0[t + 1u] = x0[t];');
    await expect(gpu.device.expectUntouched(ends)).rejects.toThrow(
      "a kernel wrote at byte 64 of 'to', which ends at 64",
    );
    gpu.device.free([from, to]);
  });
});

test('bounds: exact where nothing is rounded, as wide as the jump where one is near, and no wider than they must be', () => {
  const graph = parse(`graph
%0 = input name=x : f32 [n:3]
%1 = input name=z : f32 [n:3]
%2 = max %0 %1 : f32 [n:3]
%3 = add %0 %1 : f32 [n:3]
%4 = floor %3 : f32 [n:3]
%5 = sum %0 axes=[n] : f32 []
%6 = rsqrt %3 : f32 [n:3]
return largest=%2 total=%3 whole=%4 sum=%5 root=%6
`);
  const { outputs } = evaluateWithError(graph, {
    inputs: new Map([
      ['x', [0.5, 2 ** -24, -2.5]],
      ['z', [0.25, 1 - 2 ** -24, 2.5]],
    ]),
    params: () => [],
  });
  const error = (name: string): readonly number[] => Array.from(outputs.get(name)?.error ?? []);
  expect(error('largest')).toEqual([0, 0, 0]);
  expect(error('total').map((e) => e < 2 ** -21)).toEqual([true, true, true]);
  // 0.75 stays below 1 whatever the rounding; 1 and 0 may come out just below.
  expect(error('whole')).toEqual([0, 1, 1]);
  expect(error('sum')).toEqual([2 * 3 * 2 ** -24 * (3 + 2 ** -24) + 3 * 2 ** -126]);
  expect(error('root')[2]).toBe(Infinity);
  expect([
    isWithin(NaN, NaN, 0),
    isWithin(NaN, 1, 1),
    isWithin(Infinity, Infinity, 0),
    isWithin(1, Infinity, 5),
    isWithin(0, -0, 0),
  ]).toEqual([true, false, true, false, true]);
});
