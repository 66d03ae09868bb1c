// Products with quantized weights: the kernels compute what the interpreter does, and no unpacked weight stands in memory.
import { expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { desktopGpu } from '../../compiler/profile.ts';
import { einsum, randomParams, trace } from '../../dsl/index.ts';
import { decodeBlocks, encodeBlocks } from '../../dsl/storage/format.ts';
import { shapedParams } from '../../models/configs/param-shapes.ts';
import { interpret } from '../../pipelines/run/interpreter.ts';
import { quantizedSource, weightFormats } from '../../runtime/checkpoint/packed/quantized-source.ts';

const q = (format: 'q4' | 'q8', n: number, k: number) =>
  quantizedSource(shapedParams(new Map([['w.weight', [n, k]]]), randomParams(3)), { format });

test.each([
  ['q4', 128, 64],
  ['q8', 128, 64],
  ['q4', 70, 96],
  ['q8', 130, 32],
  ['q4', 65, 80],
] as const)('%s %s×%s: the planes hold what the blocks decode to', async (format, n, k) => {
  const source = q(format, n, k);
  const graph = trace(source, (t) => ({ w: t.params.get('w.weight', 'n k') }));
  const { w } = await interpret(graph, source).run({});
  const plain = randomParams(3).read('w.weight', [n, k]);
  const record = weightFormats[format];
  const wanted = Array.from({ length: n }, (_, row) => {
    const filled = new Float32Array(Math.ceil(k / 32) * 32);
    filled.set(plain.subarray(row * k, (row + 1) * k));
    return Array.from(decodeBlocks(record, encodeBlocks(record, filled)).subarray(0, k));
  });
  expect(Array.from(w?.data ?? [])).toEqual(wanted.flat());
});

test.each([1, 3, 70])('%s rows: one kernel, which reads codes', (m) => {
  const source = q('q4', 256, 128);
  const graph = trace(source, (t) => ({
    y: einsum(t.input('x', 'm k', { m, k: 128 }), t.params.get('w.weight', 'n k'), 'm k, n k -> m n'),
  }));
  const plan = compile(graph, desktopGpu, { verify: true });
  expect(plan.dispatches.length).toBe(1);
  expect(plan.load.length).toBe(0);
  expect(plan.memory.parameters).toBe(256 * 128 * (0.5 + 4 / 32));
});
