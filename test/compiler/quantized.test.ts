// Products with quantized weights: the kernels compute what the interpreter does, and no unpacked weight stands in memory.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { compile } from '../../compiler/compile.ts';
import { desktopGpu, lavapipe } from '../../compiler/profile.ts';
import { einsum, randomParams, trace } from '../../dsl/index.ts';
import { decodeBlocks, encodeBlocks } from '../../dsl/storage/format.ts';
import { planeShapes } from '../../dsl/storage/unpack.ts';
import { shapedParams } from '../../models/configs/param-shapes.ts';
import { GoldenFile } from '../../pipelines/verify/golden-file.ts';
import { quantAffine, quantBlock } from '../../pipelines/verify/kinds/quantized.ts';
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

const golden = join(import.meta.dirname, '../golden/quant');
/** Bits of an element in a graph of f32: codes, and scales and offsets of 32 bits a group. */
const bitsOf: Readonly<Record<string, number>> = {
  q2_K: 2 + 64 / 16,
  q3_K: 4 + 32 / 16,
  q4_0: 4 + 32 / 32,
  q4_1: 4 + 64 / 32,
  q4_K: 4 + 64 / 32,
  q5_0: 5 + 32 / 32,
  q5_1: 5 + 64 / 32,
  q5_K: 5 + 64 / 32,
  q6_K: 6 + 32 / 16,
  q8_0: 8 + 32 / 32,
};

describe('every format of the vectors', () => {
  test.each(readdirSync(golden).filter((name) => /^[^.]+\.safetensors$/.test(name)))(
    '%s stays packed',
    async (name) => {
      const file = new GoldenFile(join(golden, name));
      try {
        const { source } = await (file.kind === 'quant-block' ? quantBlock : quantAffine)(file);
        if (source === undefined) throw new Error('the vectors have weights');
        const [n = 0, k = 0] = file.shape('output.dequantised');
        const format = source.packedAs?.('layer.weight');
        expect(format).toBeDefined();
        for (const m of [1, 3, 70])
          for (const profile of [desktopGpu, lavapipe]) {
            const graph = trace(
              source,
              (t) => ({
                y: einsum(t.input('x', 'm k', { m, k }), t.params.get('layer.weight', 'n k'), 'm k, n k -> m n'),
              }),
              { unread: 'ignore' },
            );
            const plan = compile(graph, profile, { verify: true });
            expect(plan.load).toEqual([]);
            // Nothing as large as the matrix is made, not even in f16: parts of sums at most.
            const made = plan.buffers.filter(({ role }) => role === 'arena' || role === 'loaded');
            expect(Math.max(0, ...made.map(({ bytes }) => bytes))).toBeLessThan(2 * n * k);
            const shapes = format === undefined ? undefined : planeShapes(format, [n, k]);
            const elements = (shapes?.panels ?? 0) * (shapes?.columns ?? 0) * (shapes?.inner ?? 0);
            const order = source.isSorted?.('layer.weight') === true ? 4 * k : 0;
            const wanted = bitsOf[format?.name ?? ''];
            if (wanted !== undefined) expect((8 * plan.memory.parameters) / elements).toBe(wanted);
            else expect((8 * (plan.memory.parameters - order)) / elements).toBeLessThanOrEqual(8 + 64 / 32);
          }
      } finally {
        file.checkpoint.close();
      }
    },
  );

  test('columns that were sorted are put back in the product, not in memory', async () => {
    const file = new GoldenFile(join(golden, 'gptq-g128-actorder.safetensors'));
    try {
      const { source } = await quantAffine(file);
      expect(source?.isSorted?.('layer.weight')).toBe(true);
    } finally {
      file.checkpoint.close();
    }
  });
});
