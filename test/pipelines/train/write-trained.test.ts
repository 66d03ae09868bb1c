// What a run has learned: over what it began with, additions of low rank folded in, as a directory that opens like the first one.
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import * as fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../../runtime/checkpoint/checkpoint.ts';
import { contentKey } from '../../../runtime/files/content-key.ts';
import { writeSafetensors } from '../../../runtime/checkpoint/safetensors-write.ts';
import { learnedSource } from '../../../pipelines/train/run/learned-source.ts';
import { writeTrained } from '../../../pipelines/train/learned/write-trained.ts';

const scratch = mkdtempSync(join(tmpdir(), 'opabinia-learned-'));
afterAll(() => rmSync(scratch, { recursive: true }));
let made = 0;

type Matrix = readonly (readonly number[])[];
const matrix = (rows: number, columns: number): fc.Arbitrary<Matrix> =>
  fc.array(fc.array(fc.integer({ min: -8, max: 8 }), { minLength: columns, maxLength: columns }), {
    minLength: rows,
    maxLength: rows,
  });
const tensor = (name: string, values: Matrix, dtype: 'F32' | 'F16' = 'F32') => ({
  name,
  dtype,
  shape: [values.length, values[0]?.length ?? 0],
  values: values.flat(),
});

/** What a run writes beside the weights of a checkpoint. */
function describeCheckpoint(folder: string): void {
  const sha256 = { 'model.safetensors': contentKey([], [join(folder, 'model.safetensors')]) };
  const position = { stage: 0, step: 1, samples: 1, tokens: 1 };
  writeFileSync(join(folder, 'run_state.json'), JSON.stringify({ position, sha256 }));
}

/** A model, and a run of two stages of it: the first with additions to `a`, the second with `b` anew and more of them. */
const runs = fc
  .record({
    rows: fc.integer({ min: 1, max: 5 }),
    columns: fc.integer({ min: 1, max: 5 }),
    rank: fc.integer({ min: 1, max: 3 }),
    // Powers of two: every product and sum below is exact in f32, whatever its order, so the one rounding is that to f16.
    scale: fc.option(fc.constantFrom(0.5, 1, 2), { nil: undefined }),
  })
  .chain((sizes) =>
    fc.record({
      sizes: fc.constant(sizes),
      a: matrix(sizes.rows, sizes.columns),
      b: matrix(2, 3),
      newB: matrix(2, 3),
      narrow: fc.tuple(matrix(sizes.rank, sizes.columns), matrix(sizes.rank, sizes.columns)),
      wide: fc.tuple(matrix(sizes.rows, sizes.rank), matrix(sizes.rows, sizes.rank)),
      ended: fc.boolean(),
    }),
  );

const product = (wide: Matrix, narrow: Matrix, scale: number): Matrix =>
  wide.map((row) =>
    (narrow[0] ?? []).map((_, column) => scale * row.reduce((sum, x, r) => sum + x * (narrow[r]?.[column] ?? 0), 0)),
  );
const plus = (...all: readonly Matrix[]): Matrix =>
  (all[0] ?? []).map((row, i) => row.map((_, j) => all.reduce((sum, one) => sum + (one[i]?.[j] ?? 0), 0)));

describe('what a run has learned', () => {
  test('each tensor is of the last stage that has it, with the additions behind it', async () => {
    await fc.assert(
      fc.asyncProperty(runs, async ({ sizes, a, b, newB, narrow, wide, ended }) => {
        const { rank, scale: given } = sizes;
        const root = join(scratch, String(made++));
        const [model, run, out] = [join(root, 'model'), join(root, 'run'), join(root, 'out')];
        for (const folder of [model, run, join(run, 'checkpoint-1-4')]) mkdirSync(folder, { recursive: true });
        writeFileSync(join(model, 'config.json'), '{"model_type":"toy"}');
        writeFileSync(join(model, 'tokenizer.json'), '{}');
        writeFileSync(join(model, 'notes.md'), 'left out');
        writeSafetensors(join(model, 'model.safetensors'), [tensor('x.a.weight', a, 'F16'), tensor('x.b.weight', b)]);
        const lora = [{ paths: ['*a.weight'], rank, ...(given === undefined ? {} : { alpha: given * rank }) }];
        writeFileSync(
          join(run, 'config.json'),
          JSON.stringify({ recipe: { model, stages: [{ lora }, { lora }] }, git: 'x' }),
        );
        writeSafetensors(join(run, 'stage-1.safetensors'), [
          tensor('x.a.lora_A.weight', narrow[0]),
          tensor('x.a.lora_B.weight', wide[0]),
        ]);
        writeSafetensors(ended ? join(run, 'stage-2.safetensors') : join(run, 'checkpoint-1-4', 'model.safetensors'), [
          tensor('x.a.lora_A.weight', narrow[1]),
          tensor('x.a.lora_B.weight', wide[1]),
          tensor('x.b.weight', newB),
        ]);
        if (!ended) describeCheckpoint(join(run, 'checkpoint-1-4'));
        const scale = given ?? 1;
        const wanted = plus(a, product(wide[0], narrow[0], scale), product(wide[1], narrow[1], scale)).flat();
        expect(await writeTrained(run, { out })).toEqual({ tensors: 2, learned: 2, stages: 2 });
        const written = openCheckpoint(join(out, 'model.safetensors'));
        expect(written.stored.get('x.a.weight')?.dtype).toBe('F16');
        // A zero may have either sign, by the order of the sums.
        const read = Array.from(written.read('x.a.weight', [a.length, a[0]?.length ?? 0]), (value) => value + 0);
        expect(read).toEqual(wanted.map((value) => Math.f16round(value) + 0));
        expect([...written.read('x.b.weight', [2, 3])]).toEqual(newB.flat());
        written.close();
        expect(readFileSync(join(out, 'config.json'), 'utf8')).toBe('{"model_type":"toy"}');
        expect(() => readFileSync(join(out, 'notes.md'))).toThrow(/ENOENT/);
        await expect(writeTrained(run, { out: `${out}-stopped`, signal: AbortSignal.abort() })).rejects.toThrow(
          /aborted/,
        );
        expect(readdirSync(dirname(out)).filter((name) => /stopped|partial/.test(name))).toEqual([]);
        for (const there of [out, join(out, 'config.json')])
          await expect(writeTrained(run, { out: there })).rejects.toThrow(/is there already/);
      }),
      { numRuns: 40 },
    );
  });

  test('parts of a matrix are what reading it whole gives, and what nobody learned is the model’s', () => {
    const folder = join(scratch, 'parts');
    mkdirSync(folder);
    const base = [
      [1, 2, 3],
      [4, 5, 6],
    ];
    writeSafetensors(join(folder, 'base.safetensors'), [tensor('a.weight', base), tensor('c.weight', base)]);
    writeSafetensors(join(folder, 'one.safetensors'), [
      tensor('a.lora_A.weight', [[1, 0, 2]]),
      tensor('a.lora_B.weight', [[3], [5]]),
    ]);
    const opened = openCheckpoint(join(folder, 'base.safetensors'));
    const source = learnedSource(opened, [
      { path: join(folder, 'one.safetensors'), lora: [{ paths: ['*'], rank: 1 }] },
    ]);
    expect([...source.read('a.weight', [2, 3])]).toEqual([4, 2, 9, 9, 5, 16]);
    expect([...(source.part?.('a.weight', [2, 3], 2, 3) ?? [])]).toEqual([9, 9, 5]);
    expect([...source.read('c.weight', [2, 3])]).toEqual(base.flat());
    expect([source.isLearned('a.weight'), source.isLearned('c.weight')]).toEqual([true, false]);
    source.close();
    opened.close();
  });

  test('towers that learned are written where they stand, the others as they were', async () => {
    const root = join(scratch, 'towers');
    const [model, run, out] = [join(root, 'model'), join(root, 'run'), join(root, 'out')];
    for (const folder of ['a', 'b']) mkdirSync(join(model, 'towers', folder), { recursive: true });
    mkdirSync(run);
    writeFileSync(join(model, 'config.json'), JSON.stringify({ towers: [{ folder: 'a' }, { folder: 'b' }] }));
    writeSafetensors(join(model, 'model.safetensors'), [tensor('x.weight', [[1, 2]])]);
    const other = tensor('y.weight', [[7, 8]]);
    for (const folder of ['a', 'b']) {
      writeFileSync(join(model, 'towers', folder, 'config.json'), '{}');
      writeSafetensors(join(model, 'towers', folder, 'model.safetensors'), [tensor('x.weight', [[5, 6]]), other]);
    }
    writeFileSync(join(run, 'config.json'), JSON.stringify({ recipe: { model, stages: [{}] } }));
    writeSafetensors(join(run, 'stage-1.safetensors'), [tensor('vision_tower.1.x.weight', [[3, 4]])]);
    expect(await writeTrained(run, { out })).toEqual({ tensors: 3, learned: 1, stages: 1 });
    const read = (...path: readonly string[]): number[] => {
      const opened = openCheckpoint(join(...path, 'model.safetensors'));
      const values = [...opened.stored.keys()].flatMap((name) => [...opened.read(name, [1, 2])]);
      opened.close();
      return values;
    };
    expect(read(out)).toEqual([1, 2]);
    expect(read(out, 'towers', 'a')).toEqual([5, 6, 7, 8]);
    expect(read(out, 'towers', 'b')).toEqual([3, 4, 7, 8]);
    expect(readFileSync(join(out, 'towers', 'b', 'config.json'), 'utf8')).toBe('{}');
    expect(read(model, 'towers', 'b')).toEqual([5, 6, 7, 8]);
  });

  test('what nobody learned is copied to the bit, whole numbers too', async () => {
    const root = join(scratch, 'integers');
    const [model, run, out] = [join(root, 'model'), join(root, 'run'), join(root, 'out')];
    for (const folder of [model, run]) mkdirSync(folder, { recursive: true });
    writeFileSync(join(model, 'config.json'), '{}');
    const places = { name: 'position_ids', dtype: 'I64' as const, shape: [3], values: [0, 2 ** 33, 7] };
    writeSafetensors(join(model, 'model.safetensors'), [tensor('a.weight', [[1, 2]]), places]);
    writeFileSync(join(run, 'config.json'), JSON.stringify({ recipe: { model, stages: [{}] } }));
    writeSafetensors(join(run, 'stage-1.safetensors'), [tensor('a.weight', [[3, 4]])]);
    expect(await writeTrained(run, { out, dtype: 'f16' })).toEqual({ tensors: 2, learned: 1, stages: 1 });
    const written = openCheckpoint(join(out, 'model.safetensors'));
    expect(Array.from(written.tensor('position_ids'), Number)).toEqual(places.values);
    expect(written.stored.get('a.weight')?.dtype).toBe('F16');
    written.close();
    writeSafetensors(join(run, 'stage-1.safetensors'), [tensor('position_ids', [[1, 2, 3]])]);
    await expect(writeTrained(run, { out: join(root, 'other') })).rejects.toThrow(/is learned, and I64/);
  });

  test('a checkpoint that is not what was saved is told of, and the one before it is taken', async () => {
    const root = join(scratch, 'damaged');
    const [model, run] = [join(root, 'model'), join(root, 'run')];
    mkdirSync(model, { recursive: true });
    writeFileSync(join(model, 'config.json'), '{}');
    writeSafetensors(join(model, 'model.safetensors'), [tensor('a.weight', [[1, 2]])]);
    for (const step of [1, 2]) {
      const folder = join(run, `checkpoint-0-${step}`);
      mkdirSync(folder, { recursive: true });
      writeSafetensors(join(folder, 'model.safetensors'), [tensor('a.weight', [[step, 10 * step]])]);
      describeCheckpoint(folder);
    }
    writeFileSync(join(run, 'config.json'), JSON.stringify({ recipe: { model, stages: [{}, {}] } }));
    const learned = async (out: string): Promise<readonly [number[], string]> => {
      const notes: string[] = [];
      await writeTrained(run, { out: join(root, out), note: (text) => notes.push(text) });
      const written = openCheckpoint(join(root, out, 'model.safetensors'));
      const values = [...written.read('a.weight', [1, 2])];
      written.close();
      return [values, notes.join('\n')];
    };
    expect(await learned('whole')).toEqual([[2, 20], '']);
    // Another number in its place: every header still fits.
    const damage = (step: number) =>
      writeSafetensors(join(run, `checkpoint-0-${step}`, 'model.safetensors'), [tensor('a.weight', [[9, 9]])]);
    damage(2);
    const [values, notes] = await learned('before');
    expect(values).toEqual([1, 10]);
    expect(notes).toMatch(/checkpoint-0-2 is damaged: model\.safetensors is not what was saved/);
    damage(1);
    await expect(learned('none')).rejects.toThrow(/no checkpoint of stage 1 of \S+run is whole/);
    mkdirSync(join(run, 'checkpoint-1-1'));
    await expect(learned('none')).rejects.toThrow(/stage-1\.safetensors is missing, and \S+checkpoint-1-1 was trained/);
    expect(readdirSync(root).toSorted()).toEqual(['before', 'model', 'run', 'whole']);
  });

  test('averages are those of the last stage, over the weights that it began with, and where there are none they are refused', async () => {
    const root = join(scratch, 'averages');
    const [model, run, last] = [join(root, 'model'), join(root, 'run'), join(root, 'run', 'checkpoint-1-4')];
    for (const folder of [model, last]) mkdirSync(folder, { recursive: true });
    writeFileSync(join(model, 'config.json'), '{}');
    writeSafetensors(join(model, 'model.safetensors'), [tensor('a.weight', [[1, 2]]), tensor('b.weight', [[3, 4]])]);
    const lora = [{ paths: ['a.weight'], rank: 1, alpha: 2 }];
    const describe = (stages: readonly unknown[]): void =>
      writeFileSync(join(run, 'config.json'), JSON.stringify({ recipe: { model, stages } }));
    writeSafetensors(join(run, 'stage-1.safetensors'), [tensor('b.weight', [[5, 6]])]);
    const weights = [tensor('a.lora_A.weight', [[1, 1]]), tensor('a.lora_B.weight', [[1]])];
    writeSafetensors(join(last, 'model.safetensors'), weights);
    const optimizer = (prefix: string): void => {
      writeSafetensors(join(last, 'optimizer.safetensors'), [
        tensor('exp_avg.a.lora_A.weight', [[9, 9]]),
        ...[tensor('a.lora_A.weight', [[3, 5]]), tensor('a.lora_B.weight', [[7]])].map((one) => ({
          ...one,
          name: prefix + one.name,
        })),
      ]);
      const sha256 = Object.fromEntries(
        ['model.safetensors', 'optimizer.safetensors'].map((file) => [file, contentKey([], [join(last, file)])]),
      );
      const position = { stage: 1, step: 4, samples: 1, tokens: 1 };
      writeFileSync(join(last, 'run_state.json'), JSON.stringify({ position, sha256 }));
    };
    optimizer('ema.');
    const learned = async (out: string, ema: boolean): Promise<readonly number[]> => {
      const { averages } = await writeTrained(run, { out: join(root, out), ema });
      expect(averages).toEqual(ema ? { stage: 2, decay: 0.9 } : undefined);
      const written = openCheckpoint(join(root, out, 'model.safetensors'));
      const values = ['a.weight', 'b.weight'].flatMap((name) => [...written.read(name, [1, 2])]);
      written.close();
      return values;
    };
    describe([{ ema: 0.5 }, { lora, ema: 0.9 }]);
    expect(await learned('last', false)).toEqual([3, 4, 5, 6]);
    expect(await learned('average', true)).toEqual([1 + 2 * 7 * 3, 2 + 2 * 7 * 5, 5, 6]);
    // A stage that has ended keeps its weights in a file of its own, and averages in its checkpoint still.
    writeSafetensors(join(run, 'stage-2.safetensors'), weights);
    expect(await learned('ended', true)).toEqual([43, 72, 5, 6]);
    describe([{ ema: 0.5 }, { lora }]);
    await expect(learned('none', true)).rejects.toThrow(/kept no averages of stage 2, the last[^]*recipe has no ema/);
    describe([{ ema: 0.5 }, { lora, ema: 0.9 }]);
    optimizer('exp_avg_sq.');
    await expect(learned('none', true)).rejects.toThrow(
      /kept no averages of stage 2[^]*optimizer\.safetensors has none/,
    );
    writeSafetensors(join(last, 'optimizer.safetensors'), [tensor('ema.a.lora_A.weight', [[3, 5]])]);
    await expect(learned('none', true)).rejects.toThrow(/averages of stage 2 of \S+ are in its checkpoints, and none/);
    rmSync(last, { recursive: true });
    await expect(learned('none', true)).rejects.toThrow(/averages of stage 2 of \S+ are in its checkpoints, and none/);
    expect(readdirSync(root).toSorted()).toEqual(['average', 'ended', 'last', 'model', 'run']);
  });

  test('what f16 does not hold is refused, and not written as ∞', async () => {
    const root = join(scratch, 'large');
    const [model, run] = [join(root, 'model'), join(root, 'run')];
    for (const folder of [model, run]) mkdirSync(folder, { recursive: true });
    writeFileSync(join(model, 'config.json'), '{}');
    writeSafetensors(join(model, 'model.safetensors'), [tensor('a.weight', [[1, 70_000]])]);
    writeFileSync(join(run, 'config.json'), JSON.stringify({ recipe: { model, stages: [{}] } }));
    writeSafetensors(join(run, 'stage-1.safetensors'), [tensor('b.weight', [[1]])]);
    await expect(writeTrained(run, { out: join(root, 'out'), dtype: 'f16' })).rejects.toThrow(
      /'a\.weight' holds 70000\.0, and f16 numbers up to 65504/,
    );
    expect(readdirSync(root).toSorted()).toEqual(['model', 'run']);
    // 65,519 still rounds to what f16 has.
    writeSafetensors(join(model, 'model.safetensors'), [tensor('a.weight', [[1, 65_519]])]);
    await writeTrained(run, { out: join(root, 'out'), dtype: 'f16' });
  });

  test('a folder that is not a run, and a run that saved nothing, are refused before anything is written', async () => {
    const run = join(scratch, 'empty');
    mkdirSync(run);
    await expect(writeTrained(run, { out: join(scratch, 'none') })).rejects.toThrow(/does not say what was trained/);
    writeFileSync(join(run, 'config.json'), '{"recipe": {');
    await expect(writeTrained(run, { out: join(scratch, 'none') })).rejects.toThrow(/does not say what was trained/);
    writeFileSync(join(run, 'config.json'), JSON.stringify({ recipe: { model: scratch, stages: [{}] } }));
    await expect(writeTrained(run, { out: join(scratch, 'none') })).rejects.toThrow(/has no checkpoint yet/);
    expect(() => readFileSync(join(scratch, 'none', 'config.json'))).toThrow(/ENOENT/);
  });
});
