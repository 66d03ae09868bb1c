// `quantize` writes what `run` opens, within the bound of its format; what is quantized already, or in the way, is refused.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { affine, type AffineForm } from '../../dsl/storage/affine.ts';
import { interpret } from '../../pipelines/run/interpreter.ts';
import { trace } from '../../dsl/index.ts';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { checkModel } from '../../pipelines/check/check-model.ts';
import { quantizeModel } from '../../pipelines/quantize/quantize-model.ts';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { makeCheckpoint } from '../../examples/make-checkpoint.ts';
import { assemble } from '../../pipelines/assemble/assemble.ts';
import type { StoredDType } from '../../runtime/checkpoint/safetensors.ts';
import { editTensors } from '../support/edit-directory.ts';
import { makeLanguage } from '../support/made-language.ts';

const scratch = mkdtempSync(join(tmpdir(), 'opabinia-quantize-'));
const made = join(scratch, 'made');
const cambrian = join(scratch, 'cambrian');
beforeAll(() => {
  makeLanguage(made, 'llama');
  makeCheckpoint(cambrian);
});
afterAll(() => rmSync(scratch, { recursive: true }));

const matrix = 'model.layers.1.mlp.down_proj.weight';

test.each(['q4', 'q8'] as const)('%s: weights come back within the bound, and stay packed', async (format) => {
  const out = join(scratch, format);
  const report = await quantizeModel(made, { format, out, group: 16, except: ['*lm_head*'] });
  // The embedding and three matrices of each MLP: those of attention are small.
  expect(report.matrices).toBe(7);
  const [checked] = (await checkModel(out)).weights;
  expect(checked?.bytes).toBe(report.bytes);
  expect(checked?.dtypes).toEqual({ [`mlx ${format === 'q4' ? 4 : 8}-bit`]: 7, F32: 14 });
  const model = await openModel(out);
  const plain = openCheckpoint(made);
  try {
    expect(model.source.packedAs?.(matrix)?.block).toBe(16);
    expect(model.source.packedAs?.('lm_head.weight')).toBeUndefined();
    const shape = [48, 96];
    const [before, read] = [plain.read(matrix, shape), model.source.read(matrix, shape)];
    withinBound(before, read, { bits: format === 'q4' ? 4 : 8, group: 16, scale: 'f32', offset: 'bias' });
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

test.each([
  ['F32', 'f32', 1e6],
  ['BF16', 'bf16', 1e6],
  ['F16', 'f16', 6e4],
] as const)(
  'scales of weights in %s have that dtype, and hold what is as large as they do',
  async (dtype, scale, large) => {
    const [big, out] = [join(scratch, `big-${dtype}`), join(scratch, `big-${dtype}-q4`)];
    enlarged(big, dtype, large);
    await quantizeModel(big, { format: 'q4', out, group: 16 });
    const [plain, written, model] = [openCheckpoint(big), openCheckpoint(out), await openModel(out)];
    try {
      for (const part of ['scales', 'biases'])
        expect(written.stored.get(matrix.replace('weight', part))?.dtype).toBe(dtype);
      const [before, read] = [plain.read(matrix, [48, 96]), model.source.read(matrix, [48, 96])];
      expect(Math.max(...before)).toBeGreaterThan(0.99 * large);
      withinBound(before, read, { bits: 4, group: 16, scale, offset: 'bias' });
      const graph = trace(model.source, (t) => ({ w: t.params.get(matrix, 'o i') }), { unread: 'ignore' });
      const { w } = await interpret(graph, model.source).run({});
      expect(Array.from(w?.data ?? [])).toEqual(Array.from(read));
    } finally {
      plain.close();
      written.close();
      model.close();
    }
  },
);

test('weights whose scales would be infinite are refused by name', async () => {
  const big = join(scratch, 'too-big');
  enlarged(big, 'F32', 1e6);
  const model = await openModel(big, { weights: { format: 'q4' } });
  try {
    expect(() => model.source.read(`${matrix}#scales`, [1, 3, 48])).toThrow(
      /weights as large as 1\.00e\+6, whose scale is infinite in q4_0[^]*layers\.1\.mlp\.down_proj\.weight[^]*--keep/,
    );
  } finally {
    model.close();
  }
  // As far apart as two numbers can be: even their difference is infinite.
  enlarged(big, 'BF16', 3e38, -3e38);
  const out = join(scratch, 'too-big-q4');
  await expect(quantizeModel(big, { format: 'q4', out, group: 16 })).rejects.toThrow(
    /whose scale is infinite[^]*layers\.1\.mlp\.down_proj\.weight/,
  );
  const { matrices } = await quantizeModel(big, { format: 'q4', out: `${out}-kept`, group: 16, except: [matrix] });
  expect(matrices).toBe(7);
});

test('globs that nothing is named like, and quantizing nothing, are errors', async () => {
  const out = join(scratch, 'none');
  await expect(quantizeModel(made, { format: 'q4', out, group: 16, except: ['lm_haed*'] })).rejects.toThrow(
    /no tensor is named like 'lm_haed\*'[^]*lm_head\.weight/,
  );
  await expect(openModel(made, { weights: { format: 'q4', only: ['*mlpp*'] } })).rejects.toThrow(
    /no tensor is named like '\*mlpp\*'/,
  );
  await expect(quantizeModel(made, { format: 'q4', out, group: 40 })).rejects.toThrow(
    /no tensor of the 21 of .* would be quantized[^]*groups of 40/,
  );
  expect(existsSync(out)).toBe(false);
});

/** The made model with every tensor in this dtype, and a matrix that begins with these values. */
function enlarged(directory: string, dtype: StoredDType, ...values: readonly number[]): void {
  rmSync(directory, { recursive: true, force: true });
  cpSync(made, directory, { recursive: true });
  for (const file of readdirSync(directory).filter((name) => name.endsWith('.safetensors')))
    editTensors(join(directory, file), (tensors) =>
      tensors.map((tensor) => ({
        ...tensor,
        dtype,
        values: tensor.name === matrix ? Array.from(tensor.values, (value, i) => values[i] ?? value) : tensor.values,
      })),
    );
}

function withinBound(before: ArrayLike<number>, read: ArrayLike<number>, form: AffineForm): void {
  const { roundTrip } = affine(form);
  for (let at = 0; at < before.length; at += form.group) {
    const block = Array.from(before).slice(at, at + form.group);
    const most = roundTrip?.(Math.min(...block), Math.max(...block)) ?? 0;
    block.forEach((value, i) => expect(Math.abs(value - (read[at + i] ?? NaN))).toBeLessThanOrEqual(most));
  }
}

test('a GGUF file is refused for what it is', async () => {
  const path = join(import.meta.dirname, '../golden/quant/qwen2-q4_0.gguf');
  const out = join(scratch, 'of-gguf');
  await expect(quantizeModel(path, { format: 'q4', out, group: 32 })).rejects.toThrow(/is a GGUF file[^]*--weights/);
});

test('a group that does not fit is refused before anything is written', async () => {
  const out = join(scratch, 'wrong');
  await expect(quantizeModel(made, { format: 'q4', out, group: 12 })).rejects.toThrow(/multiple of 8/);
  expect(existsSync(out)).toBe(false);
});

test('the towers of an assembled model come with it, as they are: nothing is missing where it is opened', async () => {
  const clip = join(cambrian, 'towers', 'clip-vit-made-patch14-84');
  const married = join(scratch, 'married');
  await assemble({ towers: [clip], connector: 'deco', tokens: 9, language: made, out: married });
  const out = join(scratch, 'married-q4');
  const { towers } = await quantizeModel(married, { format: 'q4', out, group: 16 });
  expect(towers).toBe(1);
  const [tower = ''] = readdirSync(join(married, 'towers'));
  const files = readdirSync(join(married, 'towers', tower));
  expect(files).toContain('config.json');
  for (const file of files)
    expect(readFileSync(join(out, 'towers', tower, file))).toEqual(readFileSync(join(married, 'towers', tower, file)));
  (await openModel(out)).close();
  await expect(quantizeModel(married, { format: 'q4', out: join(married, 'towers', 'q4'), group: 16 })).rejects.toThrow(
    /is copied into it/,
  );
}, 60_000);

test('stopped, it leaves nothing behind; an empty folder is taken', async () => {
  const folder = join(scratch, 'stopped');
  mkdirSync(folder);
  await expect(
    quantizeModel(made, { format: 'q4', out: join(folder, 'q4'), group: 16, signal: AbortSignal.abort() }),
  ).rejects.toThrow(/aborted/);
  expect(readdirSync(folder)).toEqual([]);
  mkdirSync(join(folder, 'empty'));
  await quantizeModel(made, { format: 'q4', out: join(folder, 'empty'), group: 16 });
  (await openModel(join(folder, 'empty'))).close();
});

test('Ctrl-C ends the command between two pieces, with 130 and without a trace', async () => {
  const folder = join(scratch, 'interrupted');
  mkdirSync(folder);
  const command = join(import.meta.dirname, '../../cli/opabinia.ts');
  for (const sub of ['quantize', 'assemble']) {
    const args =
      sub === 'quantize'
        ? ['quantize', made, '--group', '16']
        : ['assemble', '--llm', made, '--connector', 'mlp2x', '--tower', join(cambrian, 'towers/dinov2-made-res98')];
    const child = spawn(process.execPath, [command, ...args, '--out', join(folder, 'out')], { stdio: 'ignore' });
    const ended = once(child, 'exit') as Promise<[number | null]>;
    // As soon as there is something to leave behind.
    while (child.exitCode === null && readdirSync(folder).length === 0)
      await new Promise((next) => setTimeout(next, 1));
    child.kill('SIGINT');
    const [code] = await ended;
    const left = readdirSync(folder);
    // It may have been done already.
    expect([0, 130]).toContain(code);
    expect(left).toEqual(code === 130 ? [] : ['out']);
    rmSync(join(folder, 'out'), { recursive: true, force: true });
  }
}, 60_000);
