// `quantize` writes what `run` opens, within the bound of its format; what is quantized already, or in the way, is refused.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { affine } from '../../dsl/storage/affine.ts';
import { interpret } from '../../pipelines/run/interpreter.ts';
import { trace } from '../../dsl/index.ts';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { quantizeModel } from '../../pipelines/quantize/quantize-model.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { makeLanguage } from '../support/made-language.ts';

const scratch = mkdtempSync(join(tmpdir(), 'opabinia-quantize-'));
const made = join(scratch, 'made');
beforeAll(() => void makeLanguage(made, 'llama'));
afterAll(() => rmSync(scratch, { recursive: true }));

const matrix = 'model.layers.1.mlp.down_proj.weight';

test.each(['q4', 'q8'] as const)('%s: weights come back within the bound, and stay packed', async (format) => {
  const out = join(scratch, format);
  const report = await quantizeModel(made, { format, out, group: 16, except: ['*lm_head*'] });
  // The embedding and three matrices of each MLP: those of attention are small.
  expect(report.matrices).toBe(7);
  const model = await openModel(out);
  const plain = openCheckpoint(made);
  try {
    expect(model.source.packedAs?.(matrix)?.block).toBe(16);
    expect(model.source.packedAs?.('lm_head.weight')).toBeUndefined();
    const shape = [48, 96];
    const [before, read] = [plain.read(matrix, shape), model.source.read(matrix, shape)];
    const bound = affine({ bits: format === 'q4' ? 4 : 8, group: 16, scale: 'f16', offset: 'bias' }).roundTrip;
    for (let at = 0; at < before.length; at += 16) {
      const block = before.subarray(at, at + 16);
      const most = bound?.(Math.min(...block), Math.max(...block)) ?? 0;
      block.forEach((value, i) => expect(Math.abs(value - (read[at + i] ?? NaN))).toBeLessThanOrEqual(most));
    }
    // What the graph computes from codes and scales are the same numbers.
    const graph = trace(model.source, (t) => ({ w: t.params.get(matrix, 'o i') }), { unread: 'ignore' });
    const { w } = await interpret(graph, model.source).run({});
    expect(Array.from(w?.data ?? [])).toEqual(Array.from(read));
    const norm = 'model.norm.weight';
    expect(model.source.read(norm, [48])).toEqual(plain.read(norm, [48]));
  } finally {
    plain.close();
    model.close();
  }
  await expect(quantizeModel(out, { format, out: join(scratch, 'again'), group: 16 })).rejects.toThrow(
    /quantized already, by mlx/,
  );
  await expect(openModel(out, { weights: { format } })).rejects.toThrow(/quantized already, by mlx/);
  await expect(quantizeModel(made, { format, out, group: 16 })).rejects.toThrow(/is there already/);
});

test('a group that does not fit is refused before anything is written', async () => {
  const out = join(scratch, 'wrong');
  await expect(quantizeModel(made, { format: 'q4', out, group: 12 })).rejects.toThrow(/multiple of 8/);
  expect(existsSync(out)).toBe(false);
});
