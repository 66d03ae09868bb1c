// Contractions whose weights are codes: every template that reads weights, at the edges of its tiles, on both profiles.
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { einsum, gather, gelu, randomParams, trace, type Graph } from '../../dsl/index.ts';
import { shapedParams } from '../../models/configs/param-shapes.ts';
import { randomInputs } from '../../pipelines/testing/random-inputs.ts';
import { quantizedSource } from '../../runtime/checkpoint/packed/quantized-source.ts';
import { blockFormats, storageFormat } from '../../dsl/storage/index.ts';
import type { StorageFormat } from '../../dsl/storage/format.ts';
import { planeSource } from '../../runtime/checkpoint/packed/plane-source.ts';
import { share } from '../support/share.ts';
import { judge, openGpu, seed, withoutGpu, type Gpu } from './compare.ts';

interface Case {
  readonly format: 'q4' | 'q8';
  readonly dtype: 'f32' | 'f16';
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly use: 'product' | 'product+gelu' | 'both ways' | 'rows of a table';
}

/** A graph over one quantized matrix, and its source. */
function built({ format, dtype, m, n, k, use }: Case) {
  const source = quantizedSource(shapedParams(new Map([['w.weight', [n, k]]]), randomParams(7, { dtype })), {
    format,
    least: 1,
  });
  const graph = trace(source, (t) => {
    const weight = t.params.get('w.weight', 'n k');
    if (use === 'rows of a table') return { y: gather(weight, t.input('ids', 'm', { m }, 'i32'), 'n') };
    const x = t.input('x', 'm k', { m, k }, dtype);
    const y = einsum(x, weight, 'm k, n k -> m n');
    if (use === 'product') return { y };
    if (use === 'product+gelu') return { y: gelu(y) };
    return { y: einsum(y, weight, 'm n, n k -> m k') };
  });
  return { source, graph };
}

function feedsOf(graph: Graph, { m, n }: Case, source: ReturnType<typeof built>['source']) {
  const ids = Int32Array.from({ length: m }, (_, i) => (i * 7919) % n);
  const given = randomInputs(graph, graph.outputs.get('y')?.op.kind === 'gather' ? { ids } : {}, 5);
  return {
    inputs: new Map(
      Object.entries(given).map(([name, value]) => [name, Float64Array.from(value as ArrayLike<number>)]),
    ),
    params: (path: string, shape: readonly number[]) => source.read(path, shape),
  };
}

describe.skipIf(withoutGpu)('products with quantized weights', () => {
  let gpu: Gpu;
  beforeAll(async () => {
    gpu = await openGpu();
  });
  afterAll(() => gpu.close());

  const cases = fc.record<Case>({
    format: fc.constantFrom('q4', 'q8'),
    dtype: fc.constantFrom('f32', 'f16'),
    m: fc.constantFrom(1, 2, 4, 5, 17, 65),
    n: fc.constantFrom(4, 5, 17, 63, 64, 65, 130),
    k: fc.constantFrom(32, 40, 64, 96, 99, 256),
    use: fc.constantFrom('product', 'product+gelu', 'both ways', 'rows of a table'),
  });

  test.each([0, 1] as const)(
    'profile %i',
    async (which) => {
      const templates = new Set<string>();
      await fc.assert(
        fc.asyncProperty(cases, async (one) => {
          const { source, graph } = built(one);
          const verdict = await judge(gpu, graph, feedsOf(graph, one, source), { profile: gpu.profiles[which] });
          verdict.templates.forEach((template) => templates.add(template));
          // Nothing is unpacked: no buffer but codes and scales is as large as the weight.
          expect(verdict.plan.load).toEqual([]);
          const bits = one.format === 'q4' ? 4 : 8;
          const padded =
            Math.ceil(one.n / Math.min(64, Math.ceil(one.n / 4) * 4)) * Math.min(64, Math.ceil(one.n / 4) * 4);
          // A buffer is a whole number of vectors.
          const whole = (bytes: number): number => Math.ceil(bytes / 16) * 16;
          const codes = padded * Math.ceil(one.k / 32) * 32;
          expect(verdict.plan.memory.parameters).toBe(
            whole((codes * bits) / 8) + whole((codes / 32) * (one.dtype === 'f16' ? 2 : 4)),
          );
        }),
        { numRuns: share(7, 80), seed },
      );
      expect(templates.size).toBeGreaterThan(1);
    },
    300_000,
  );

  test('a weight with fewer rows than a row has words of codes, multiplied along its rows', async () => {
    const one: Case = { format: 'q8', dtype: 'f32', m: 5, n: 32, k: 256, use: 'both ways' };
    const { source, graph } = built(one);
    await judge(gpu, graph, feedsOf(graph, one, source), { profile: gpu.software });
  });

  const formats = [
    ...blockFormats.map(({ name }) => name),
    'affine4_32_f16_bias',
    'affine4_64_f32_zero',
    'affine8_32_f16_zero',
    'affine8_64_f32_bias',
  ];

  test.each(formats)('a few rows times %s, as a GPU makes them', async (name) => {
    const format = storageFormat(name);
    if (format === undefined) throw new TypeError(`no format ${name}`);
    const isFew = (template: string): boolean => template === 'contraction of few rows';
    for (const [m, n, inner, dtype] of [
      [1, 68, 2, 'f32'],
      [3, 130, 4, 'f16'],
      [2, 20, 1, 'f16'],
    ] as const) {
      const k = inner * format.block * Math.ceil(512 / format.block / 4);
      const blocks = saneBlocks(format, n * (k / format.block));
      const row = (k / format.block) * format.bytes;
      const plain = shapedParams(new Map([['w.weight', [n, k]]]), randomParams(7, { dtype }));
      const source = planeSource(plain, (path) =>
        path === 'w.weight'
          ? { format, read: (first, count) => blocks.subarray(first * row, (first + count) * row) }
          : undefined,
      );
      const graph = trace(source, (t) => ({
        y: einsum(t.input('x', 'm k', { m, k }, dtype), t.params.get('w.weight', 'n k'), 'm k, n k -> m n'),
      }));
      const one: Case = { format: 'q4', dtype, m, n, k, use: 'product' };
      const verdict = await judge(gpu, graph, feedsOf(graph, one, source), { profile: gpu.desktop });
      expect(verdict.templates.some(isFew), `${name}: ${verdict.templates.join(', ')}`).toBe(true);
    }
  });
});

/** Blocks of any bits whose numbers are of ordinary size. */
function saneBlocks(format: StorageFormat, count: number): Uint8Array {
  const blocks = new Uint8Array(count * format.bytes);
  const [view, values] = [new DataView(blocks.buffer), new Float32Array(format.block)];
  let state = 12345;
  const byte = (): number => (state = (Math.imul(state, 1103515245) + 12345) >>> 0) >>> 24;
  for (let b = 0; b < count; b++) {
    const at = b * format.bytes;
    const isSane = (): boolean => {
      format.decode(view, at, values, 0);
      return values.every((value) => Math.abs(value) < 100);
    };
    for (let tries = 0; tries < 400; tries++) {
      for (let i = 0; i < format.bytes; i++) blocks[at + i] = byte();
      if (isSane()) break;
      blocks.fill(0, at, at + format.bytes);
    }
  }
  return blocks;
}
