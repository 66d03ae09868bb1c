// What the files of a run are worth when it goes on: the model it began with, what its stages have learned, event files.
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { withSettings } from '../../../pipelines/train/recipe/settings.ts';
import { writeTrained } from '../../../pipelines/train/learned/write-trained.ts';
import { readEvents } from '../../support/read-events.ts';
import { go, recipeOf, root, runs } from './made-runs.ts';

describe('the files of a run that goes on', { timeout: 300_000 }, () => {
  test('weights of a stage in which a bit has flipped are told, not learned from nor written out', async () => {
    await go(recipeOf('rotten'));
    const file = join(runs, 'rotten/stage-1.safetensors');
    const sound = readFileSync(file);
    const [sum, name] = readFileSync(`${file}.sha256`, 'utf8').split(/\s+/);
    expect([sum, name]).toEqual([createHash('sha256').update(sound).digest('hex'), 'stage-1.safetensors']);
    writeFileSync(file, sound.with(-1, (sound.at(-1) ?? 0) ^ 1));
    const longer = withSettings(recipeOf('rotten'), ['stages.1.steps=4']);
    await expect(go(longer, { resume: true })).rejects.toThrow(/stage-1\.safetensors is damaged/);
    const out = join(root, 'rotten');
    await expect(writeTrained(join(runs, 'rotten'), { out })).rejects.toThrow(/stage-1\.safetensors is damaged/);
    expect(existsSync(out)).toBe(false);
    // What earlier versions wrote has no sum.
    rmSync(`${file}.sha256`);
    expect((await go(longer, { resume: true, stopAfter: 1 })).end).toMatch(/^stopped: stage 2/);
    expect(readdirSync(join(runs, 'rotten')).filter((one) => one.startsWith('stage-'))).toEqual([
      'stage-1.safetensors',
    ]);
  });

  test('event files forget the steps that are taken again', async () => {
    const folder = join(runs, 'told');
    const recipe = withSettings(recipeOf('told'), ['saveEvery=2']);
    await go(recipe, { stopAfter: 3 });
    // As after a kill behind step 3: what was saved last is step 2, and a record is cut off.
    rmSync(join(folder, 'checkpoint-0-3'), { recursive: true });
    const events = () =>
      readdirSync(folder)
        .filter((name) => name.includes('tfevents'))
        .sort();
    const [first = ''] = events();
    appendFileSync(join(folder, first), Buffer.alloc(11, 1));
    await go(recipe, { resume: true, stopAfter: 2 });
    const steps = (stage: number): readonly number[] =>
      events()
        .filter((name) => name.endsWith(`stage${stage}`))
        .flatMap((name) => readEvents(join(folder, name)))
        .flatMap(({ step, version }) => (version === '' ? [step] : []))
        .sort((a, b) => a - b);
    expect(steps(1)).toEqual([1, 2, 3, 4]);
    // Of a stage that begins anew nothing stays.
    await go(recipe, { resume: true });
    expect([steps(1), steps(2)]).toEqual([
      [1, 2, 3, 4],
      [1, 2],
    ]);
    for (const name of readdirSync(folder))
      if (name.startsWith('checkpoint-1')) rmSync(join(folder, name), { recursive: true });
    await go(recipe, { resume: true });
    expect([steps(1), steps(2)]).toEqual([
      [1, 2, 3, 4],
      [1, 2],
    ]);
  });
});
