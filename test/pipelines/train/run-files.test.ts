// What the files of a run are worth when it goes on: the model it began with, what its stages have learned, event files.
import { createHash } from 'node:crypto';
import {
  appendFileSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Recipe } from '../../../pipelines/train/recipe/recipe.ts';
import { withSettings } from '../../../pipelines/train/recipe/settings.ts';
import { train } from '../../../pipelines/train/train.ts';
import { writeTrained } from '../../../pipelines/train/learned/write-trained.ts';
import { readEvents } from '../../support/read-events.ts';
import { madeRuns } from './made-runs.ts';

const { device, go, recipeOf, root, runs, stage } = madeRuns();

describe('the files of a run that goes on', { timeout: 300_000 }, () => {
  test('a model whose weights or texts changed under its name is not gone on with', async () => {
    const model = join(root, 'changing');
    cpSync(join(root, 'model'), model, { recursive: true });
    const recipe = { ...recipeOf('changing'), model };
    await go(recipe, { stopAfter: 2 });
    const log = readFileSync(join(runs, 'changing/metrics.jsonl'), 'utf8');
    // A shard of several.
    const weights = join(model, readdirSync(model).findLast((name) => name.endsWith('.safetensors')) ?? '');
    const tokenizer = join(model, 'tokenizer.json');
    const [sound, text] = [readFileSync(weights), readFileSync(tokenizer, 'utf8')];
    const { atime, mtime } = statSync(weights);
    // As large, and of the same time.
    writeFileSync(weights, sound.with(-2, (sound.at(-2) ?? 0) ^ 1));
    utimesSync(weights, atime, mtime);
    const out = join(root, 'changed');
    await expect(writeTrained(join(runs, 'changing'), { out })).rejects.toThrow(/began with: its weights changed/);
    expect(existsSync(out)).toBe(false);
    await expect(go(recipe, { resume: true })).rejects.toThrow(
      /changing is not what \S+changing began with: its weights changed[^]*try bring the files back[^]*name=/,
    );
    writeFileSync(weights, sound);
    writeFileSync(tokenizer, `${text} `);
    await expect(go(recipe, { resume: true })).rejects.toThrow(/its config, tokenizer or preprocessor changed/);
    writeFileSync(tokenizer, text);
    expect(readFileSync(join(runs, 'changing/metrics.jsonl'), 'utf8')).toBe(log);
    writeFileSync(join(model, 'generation_config.json'), '{"max_new_tokens": 3}');
    expect((await go(recipe, { resume: true })).end).toMatch(/^done/);
    const own = join(model, 'towers');
    const tower = join(own, readdirSync(own)[0] ?? '', 'model.safetensors');
    const seen = readFileSync(tower);
    writeFileSync(tower, seen.with(-2, (seen.at(-2) ?? 0) ^ 1));
    await expect(writeTrained(join(runs, 'changing'), { out })).rejects.toThrow(
      /weights of \S*vision_tower\S* changed/,
    );
    writeFileSync(tower, seen);
    await writeTrained(join(runs, 'changing'), { out });
    // Nor with one that changed between two stages.
    await expect(
      train({ ...recipe, name: 'between' }, device(), {
        root: runs,
        ended: async () => writeFileSync(weights, sound.with(-2, (sound.at(-2) ?? 0) ^ 1)),
        print: () => undefined,
      }),
    ).rejects.toThrow(/its weights changed/);
  });

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
    const events = (stage: number): readonly string[] => {
      const own = join(folder, `events/stage-${stage}`);
      return existsSync(own) ? readdirSync(own).map((name) => join(own, name)) : [];
    };
    const [first = ''] = events(1);
    appendFileSync(first, Buffer.alloc(11, 1));
    await go(recipe, { resume: true, stopAfter: 2 });
    const steps = (stage: number): readonly number[] =>
      events(stage)
        .flatMap((path) => readEvents(path))
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

  test('a tower that has learned and stays still afterwards shows what it shows now, not what it showed before', async () => {
    const moved: Recipe = {
      ...recipeOf('moved'),
      stages: [
        stage('moves', {
          groups: [{ paths: ['*mm_projector*', '*vision_tower*'], lr: 0.1 }],
          unfreezeTowers: true,
          steps: 2,
        }),
        stage('stays', { steps: 2 }),
      ],
    };
    // The same pictures through the tower as it was lie beside the first run, not beside the second.
    await go({ ...recipeOf('still'), stages: [stage('stays', { steps: 1 })] });
    await go(moved);
    await train(moved, device(), { root: join(root, 'elsewhere'), print: () => undefined });
    const learned = (folder: string) => readFileSync(join(folder, 'moved/stage-2.safetensors'));
    expect(learned(runs).equals(learned(join(root, 'elsewhere')))).toBe(true);
  });
});
