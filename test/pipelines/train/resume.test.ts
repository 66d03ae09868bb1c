// Runs that go on: what a finished one says, which recipes go on with a run and which do not, and what a training that fails at once leaves.
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { spawnSync } from 'node:child_process';
import { hostname } from 'node:os';
import { join, relative } from 'node:path';
import { describe, expect, test } from 'vitest';
import { listRuns, printRuns } from '../../../pipelines/train/list-runs.ts';
import { needBegun } from '../../../pipelines/train/record/open-run.ts';
import { changesOf, refuseLength } from '../../../pipelines/train/record/recipe-changes.ts';
import type { Recipe, Stage } from '../../../pipelines/train/recipe/recipe.ts';
import { withSettings } from '../../../pipelines/train/recipe/settings.ts';
import { quantizeModel } from '../../../pipelines/quantize/quantize-model.ts';
import { train } from '../../../pipelines/train/train.ts';
import { openCheckpoint } from '../../../runtime/checkpoint/checkpoint.ts';
import { writeAdapter } from '../../../pipelines/train/learned/write-adapter.ts';
import { writeTrained } from '../../../pipelines/train/learned/write-trained.ts';
import { madeRuns } from './made-runs.ts';

const { device, go, learnedBy, recipeOf, recordOf, root, runs, stage } = madeRuns();

describe('a run that goes on', { timeout: 300_000 }, () => {
  test('says where it ended; a finished one says that, with its last loss, and trains nothing', async () => {
    const first = await go(recipeOf('whole'), { stopAfter: 2 });
    expect(first.end).toMatch(/^stopped: stage 1 of 2, step 2 of 4, loss \d+\.\d{4}$/);
    const second = await go(recipeOf('whole'), { resume: true });
    expect(second.text).toMatch(/going on from \S+checkpoint-0-2/);
    expect(second.end).toMatch(/^done: stage 2 of 2, step 2 of 2, loss \d+\.\d{4}$/);
    const third = await go(recipeOf('whole'), { resume: true });
    expect(third.end).toBe(second.end?.replace('done', `${join(runs, 'whole')} is finished`));
    expect([third.report.finished, third.text]).toEqual([true, '']);
    // What such a run is said to be is written down, though nothing is left to train.
    const told = withSettings(recipeOf('whole'), ['stages.1.logEvery=5']);
    expect((await go(told, { resume: true })).report.finished).toBe(true);
    expect(JSON.parse(recordOf('whole'))).toMatchObject({ changes: ['stage 2, step 2: stages.1.logEvery 1 → 5'] });
  });

  test('goes on with its own recipe alone: each field that differs is named with both values', async () => {
    await go(recipeOf('mid'), { stopAfter: 3 });
    const before = recordOf('mid');
    const changed = withSettings(recipeOf('mid'), [
      'stages.0.steps=7',
      'seed=9',
      'stages.0.groups.0.lr=0.5',
      `stages.0.data.file=${join(root, 'other.jsonl')}`,
      'stages.1.batch=2',
    ]);
    const refused = await go(changed, { resume: true }).catch((error: unknown) => String(error));
    for (const field of [
      'seed 1 → 9',
      'stages.0.steps 4 → 7',
      'stages.0.groups.0.lr 0.001 → 0.5',
      `stages.0.data.file ${join(root, 'train.jsonl')} → ${join(root, 'other.jsonl')}`,
    ])
      expect(refused).toContain(field);
    expect(refused).toMatch(/try [^]*without --resume: --set name=/);
    // The second stage has not begun.
    expect(refused).not.toMatch(/stages\.1/);
    expect(recordOf('mid')).toBe(before);
    await expect(go(withSettings(recipeOf('mid'), ['stages.0.steps=7']), { resume: true })).rejects.toThrow(
      /stage 1 is of 7 steps, and was of 4; with its schedule 'cosine' the 3 that are taken/,
    );
    await expect(go(withSettings(recipeOf('mid'), ['stages.0.steps=2']), { resume: true })).rejects.toThrow(
      /of which 3 are taken/,
    );
  });

  test('a record of an earlier version, with another generator and no counts, holds', async () => {
    await go(recipeOf('old'), { stopAfter: 2 });
    const { samples: _samples, data: _data, ...record } = JSON.parse(recordOf('old')) as Record<string, unknown>;
    const write = (generator: string) =>
      writeFileSync(join(runs, 'old', 'config.json'), JSON.stringify({ ...record, generator }));
    write('older');
    expect((await go(recipeOf('old'), { resume: true })).text).toMatch(
      /changed at stage 1, step 2: generator older → [0-9a-f]{16}\none {2}3\/4/,
    );
    // What trained nothing is not named.
    write('older');
    const before = recordOf('old');
    const { text, report } = await go(recipeOf('old'), { resume: true });
    expect([text, report.finished, recordOf('old')]).toEqual(['', true, before]);
  });

  test('data that has grown or says something else is other data; pictures may lie elsewhere', async () => {
    const file = join(root, 'growing.jsonl');
    const content = readFileSync(join(root, 'train.jsonl'), 'utf8');
    writeFileSync(file, content);
    const recipe = withSettings(recipeOf('growing'), [`stages.0.data.file=${file}`]);
    await go(recipe, { stopAfter: 2 });
    writeFileSync(file, content + readFileSync(join(root, 'other.jsonl'), 'utf8'));
    await expect(go(recipe, { resume: true })).rejects.toThrow(/the data of stage 1 has 4 samples, and had 3/);
    writeFileSync(file, content.replace('yes', 'yet'));
    await expect(go(recipe, { resume: true })).rejects.toThrow(/the samples of stage 1 are others than they were/);
    mkdirSync(join(root, 'images/deeper'), { recursive: true });
    copyFileSync(join(root, 'images/red.png'), join(root, 'images/deeper/red.png'));
    writeFileSync(file, content.replaceAll('red.png', 'deeper/red.png'));
    expect((await go(recipe, { resume: true, stopAfter: 1 })).end).toMatch(/^stopped/);
  });

  test('what has not been trained yet may change: the run is then that of the new recipe, and its record says so', async () => {
    await go(recipeOf('grown'), { stopAfter: 2 });
    const then = withSettings(recipeOf('grown'), ['stages.1.groups.0.lr=0.01', 'stages.0.logEvery=2']);
    const second = await go(then, { resume: true });
    expect(second.text).toMatch(/changed at stage 1, step 2: stages\.1\.groups\.0\.lr 0\.001 → 0\.01/);
    const last = withSettings(then, ['stages.1.steps=4']);
    expect((await go(last, { resume: true })).end).toMatch(/^done: stage 2 of 2, step 4 of 4/);
    await go({ ...last, name: 'at once' });
    expect(learnedBy('grown').equals(learnedBy('at once'))).toBe(true);
    const record: unknown = JSON.parse(recordOf('grown'));
    expect(record).toMatchObject({
      recipe: { stages: [{ logEvery: 2 }, { steps: 4, groups: [{ lr: 0.01 }] }] },
      changes: [
        'stage 1, step 2: stages.0.logEvery 1 → 2',
        'stage 1, step 2: stages.1.groups.0.lr 0.001 → 0.01',
        'stage 2, step 2: stages.1.steps 2 → 4',
      ],
      samples: [3, 3],
    });
    const listed = listRuns(runs).filter(({ name }) => name === 'grown' || name === 'at once');
    expect(printRuns(listed)).toMatch(/changes\.0 +– +stage 1, step 2/);
  });

  test('a stage that had ended and goes on is what its last checkpoint knows, not what it was when it ended', async () => {
    const recipe = (steps: number): Recipe => ({
      ...recipeOf('longer'),
      stages: [stage('one', { schedule: { shape: 'constant' }, steps, saveEvery: 1, ema: 0.5 })],
    });
    await go(recipe(2));
    await writeTrained(join(runs, 'longer'), { out: join(root, 'averaged'), ema: true });
    expectAverages([join(root, 'model'), ...[1, 2].map((step) => join(runs, 'longer', `checkpoint-0-${step}`))]);
    const { end } = await go(recipe(6), { resume: true, stopAfter: 1 });
    expect(end).toMatch(/^stopped: step 3 of 6/);
    await writeTrained(join(runs, 'longer'), { out: join(root, 'longer') });
    await go({ ...recipe(3), name: 'as long' });
    await writeTrained(join(runs, 'as long'), { out: join(root, 'as-long') });
    const weights = (name: string) => readFileSync(join(root, name, 'model.safetensors'));
    expect(weights('longer').equals(weights('as-long'))).toBe(true);
  });

  test('checkpoints that are damaged make no room for others, and where all are, nothing begins anew', async () => {
    const recipe = withSettings(recipeOf('broken'), ['saveEvery=1']);
    const folder = join(runs, 'broken');
    const state = (step: number) => join(folder, `checkpoint-0-${step}`, 'run_state.json');
    await go(recipe, { stopAfter: 3 });
    writeFileSync(state(3), '');
    mkdirSync(join(folder, '.checkpoint-0-4.partial'));
    writeFileSync(join(folder, 'stage-1.safetensors.partial'), '');
    const { text } = await go(recipe, { resume: true, stopAfter: 1 });
    expect(text).toMatch(/checkpoint-0-3 has no run_state\.json that can be read[^]*going on from \S+checkpoint-0-2/);
    expect(readdirSync(folder).filter((name) => /checkpoint|partial/.test(name))).toEqual([
      'checkpoint-0-2',
      'checkpoint-0-3',
    ]);
    for (const step of [2, 3]) writeFileSync(state(step), '');
    const log = readFileSync(join(folder, 'metrics.jsonl'), 'utf8');
    await expect(go(recipe, { resume: true })).rejects.toThrow(/none of the 2 checkpoints of \S+broken can be read/);
    expect(readFileSync(join(folder, 'metrics.jsonl'), 'utf8')).toBe(log);
  });

  test('a folder is trained in by one process at a time; what a dead one has left is none', async () => {
    const folder = join(runs, 'shared');
    const lock = join(folder, 'run.lock');
    let second: Promise<unknown> | undefined;
    await train(recipeOf('shared'), device(), {
      root: runs,
      stopped: () => {
        // In the middle of the first: its folder is there.
        second ??= Promise.allSettled([go(recipeOf('shared'), { resume: true }), go(recipeOf('shared'))]);
        return true;
      },
      print: () => undefined,
    });
    const refused = { status: 'rejected', reason: { what: `${folder} is being trained by process ${process.pid}` } };
    expect(await second).toMatchObject([refused, refused]);
    expect(existsSync(lock)).toBe(false);
    writeFileSync(lock, `${process.ppid} ${hostname()}`);
    const log = readFileSync(join(folder, 'metrics.jsonl'), 'utf8');
    await expect(go(recipeOf('shared'), { resume: true })).rejects.toThrow(
      /is being trained by[^]*delete \S+run\.lock/,
    );
    expect(readFileSync(join(folder, 'metrics.jsonl'), 'utf8')).toBe(log);
    const dead = spawnSync(process.execPath, ['--eval', '']).pid;
    // The second is a process of our own number, as one has in a container that is started again.
    for (const owner of [dead, process.pid]) {
      writeFileSync(lock, `${owner} ${hostname()}`);
      expect((await go(recipeOf('shared'), { resume: true, stopAfter: 1 })).end).toMatch(/^stopped/);
      expect(existsSync(lock)).toBe(false);
    }
  });

  test('a run without a checkpoint begins anew, and a name without a run is told', async () => {
    const folder = join(runs, 'killed');
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'config.json'), '{}');
    expect(() => needBegun(runs, 'killed')).not.toThrow();
    const { text } = await go(recipeOf('killed'), { resume: true, stopAfter: 1 });
    expect(text).toMatch(/killed has no checkpoint that can be read: it begins anew/);
    expect(() => needBegun(runs, 'kilt')).toThrow(/there is no run \S+kilt[^]*leave --resume out[^]*killed/);
  });
});

/** Those of two steps at a decay of one half, whose products are exact: one rounding a step. */
function expectAverages(folders: readonly string[]): void {
  const [first, one, two, averaged] = [...folders, join(root, 'averaged')].map((folder) => openCheckpoint(folder));
  const names = [...(one?.stored.keys() ?? [])];
  expect(names.length).toBeGreaterThan(0);
  for (const name of names) {
    const shape = one?.stored.get(name)?.shape ?? [];
    const [start, before, after, found] = [first, one, two, averaged].map((checkpoint) =>
      checkpoint?.read(name, shape),
    );
    const wanted = after?.map(
      (value, i) => Math.fround((start?.[i] ?? 0) / 2 + (before?.[i] ?? 0) / 2) / 2 + value / 2,
    );
    expect(after).not.toEqual(before);
    expect(found, name).toEqual(wanted);
  }
  for (const checkpoint of [first, one, two, averaged]) checkpoint?.close();
}

test('quantized matrices that learn are told before the first step: no directory can be written of them', async () => {
  const quantized = join(root, 'quantized');
  await quantizeModel(join(root, 'model'), { format: 'q8', out: quantized, group: 32 });
  const down = '*down_proj.weight';
  const lora = [{ paths: [down], rank: 1 }];
  for (const [name, changes, note] of [
    ['whole', { groups: [{ paths: [down], lr: 1e-3 }] }, /2 matrices that learn are stored quantized, \S+down_proj/],
    ['added', { lora, groups: [{ paths: ['*lora_?*'], lr: 1e-3 }] }, /2 matrices that learn are stored quantized/],
    ['beside', {}, /^(?!.*stored quantized)/s],
  ] as const) {
    const recipe = { name: `packed ${name}`, model: quantized, stages: [stage('one', { ...changes, steps: 1 })] };
    expect((await go(recipe)).text).toMatch(note);
    const written = writeTrained(join(runs, recipe.name), { out: join(root, recipe.name) });
    if (name === 'beside') await written;
    else await expect(written).rejects.toThrow(/is learned, and U32/);
    // What LoRA adds needs nothing of the matrix.
    if (name === 'added')
      expect(await writeAdapter(join(runs, recipe.name), { out: join(root, 'adapter') })).toMatchObject({
        matrices: 2,
        ranks: [1],
        left: new Map(),
      });
  }
}, 300_000);

describe('what fails before the first step', { timeout: 300_000 }, () => {
  test.each([
    ['data', { settings: ['stages.0.data.file=nowhere.jsonl'], message: /nowhere\.jsonl cannot be read/ }],
    ['data of a later stage', { settings: ['stages.1.data.images=nowhere'], message: /no folder of pictures nowhere/ }],
    ['model', { settings: ['model=no where'], message: /no directory no where/ }],
    ['groups', { settings: ['stages.0.groups.0.paths=nothing*'], message: /means none/ }],
    ['evaluation', { settings: ['stages.1.batch=2'], message: /evaluation of stage 'two' has 1 sample, and 2 are/ }],
    ['length', { settings: ['stages.0.length=10'], message: /try raise `length`[^]*to \d+ or more/ }],
  ])('leaves no run: %s', async (name, { settings, message }) => {
    const other = { file: join(root, 'other.jsonl'), images: join(root, 'images') };
    const recipe = recipeOf(name, { evaluation: { data: other, every: 1, batches: 1 } });
    await expect(go(withSettings(recipe, settings))).rejects.toThrow(message);
    expect(existsSync(join(runs, name))).toBe(false);
  });

  test('a folder that earlier versions left is begun in', async () => {
    mkdirSync(join(runs, 'left'), { recursive: true });
    for (const file of ['config.json', 'metrics.jsonl']) writeFileSync(join(runs, 'left', file), '');
    expect((await go(recipeOf('left'), { stopAfter: 1 })).end).toMatch(/step 1 of 4/);
    await expect(go(recipeOf('left'))).rejects.toThrow(/holds a run/);
  });
});

test(
  'the record of a run has whole paths: what it learned is written from another folder',
  { timeout: 300_000 },
  async () => {
    const here = process.cwd();
    const near = (name: string): string => relative(here, join(root, name));
    const recipe = recipeOf('near');
    await go({
      ...recipe,
      model: near('model'),
      stages: recipe.stages.map((one) => ({ ...one, data: { file: near('train.jsonl'), images: near('images') } })),
    });
    try {
      process.chdir(join(root, 'images'));
      const { stages } = await writeTrained('../runs/near', { out: '../out' });
      expect([stages, existsSync(join(root, 'out/model.safetensors'))]).toEqual([2, true]);
    } finally {
      process.chdir(here);
    }
    const record: unknown = JSON.parse(recordOf('near'));
    const data = { file: join(root, 'train.jsonl'), images: join(root, 'images') };
    expect(record).toMatchObject({ recipe: { model: join(root, 'model'), stages: [{ data }, { data }] } });
    // The same recipe with whole paths is the same.
    expect((await go(recipeOf('near'), { resume: true })).report.finished).toBe(true);
  },
);

test('fields that differ: lists are one field, what is not there is none', () => {
  expect(changesOf({ a: [1, 2], b: { c: 'x' }, d: [{ e: 1 }] }, { a: [1], b: {}, d: [{ e: 1 }, { e: 2 }] })).toEqual([
    { path: 'a', from: '[1,2]', to: '[1]' },
    { path: 'b.c', from: 'x', to: undefined },
    { path: 'd.1.e', from: undefined, to: '2' },
  ]);
});

test('more steps are the same run where the schedule gave those that are taken the same rates', () => {
  const check = (schedule: Stage['schedule'], step: number) => () =>
    refuseLength('runs/a', { schedule }, [10, 20], { stage: 0, step });
  expect(check({ shape: 'constant' }, 10)).not.toThrow();
  expect(check({ shape: 'constant', warmup: { steps: 4 } }, 10)).not.toThrow();
  expect(check({ shape: 'constant', warmup: { ratio: 0.4 } }, 10)).toThrow(/other learning rates/);
  // A cosine that has not begun to fall.
  expect(check({ shape: 'cosine', warmup: { steps: 4 } }, 4)).not.toThrow();
  expect(check({ shape: 'cosine', warmup: { steps: 4 } }, 6)).toThrow(/other learning rates/);
});
