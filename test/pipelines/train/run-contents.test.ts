// What the record of a run knows of pictures, of the data of evaluations, and of a person's own connectors; and what is told where they changed.
import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { connector, onlyMap } from '../../../models/connectors/connector.ts';
import { mapTokens } from '../../../models/connectors/visual-tokens.ts';
import { sourceOf } from '../../../models/own-source.ts';
import { zoo } from '../../../pipelines/compare/registry.ts';
import { openLlavaFile } from '../../../pipelines/train/data/llava-file.ts';
import { pictureDigest } from '../../../pipelines/train/record/picture-digest.ts';
import { madeRuns } from './made-runs.ts';

const { go, recipeOf, recordOf, root, runs } = madeRuns();
const mine = connector<object>({
  name: 'mine',
  title: 'Mine',
  paper: 'not written yet',
  year: 2026,
  source: 'this file',
  mathematics: ['y = x'],
  towers: 'one',
  presets: { mine: { config: {}, maps: [[4, 4, 8]], width: 8 } },
  build: (_p, maps) => mapTokens(onlyMap(maps)),
});
const red = join(root, 'images/red.png');

async function blue(path: string): Promise<void> {
  const picture = sharp({ create: { width: 12, height: 12, channels: 3, background: '#00f' } });
  writeFileSync(path, await picture.png().toBuffer());
}

describe('a run that goes on', { timeout: 300_000 }, () => {
  test('is refused where a picture shows something else', async () => {
    await go(recipeOf('pictures'), { stopAfter: 2 });
    copyFileSync(red, join(root, 'kept.png'));
    await blue(red);
    const before = recordOf('pictures');
    try {
      await expect(go(recipeOf('pictures'), { resume: true })).rejects.toThrow(
        /pictures of stage 1 are others than when \S+ was trained[^]*bring the files back/,
      );
    } finally {
      renameSync(join(root, 'kept.png'), red);
    }
    expect(recordOf('pictures')).toBe(before);
    expect((await go(recipeOf('pictures'), { resume: true, stopAfter: 1 })).end).toMatch(
      /^stopped: stage 1 of 2, step 3/,
    );
  });

  test('says that its evaluation is another', async () => {
    const file = join(root, 'held.jsonl');
    const text = readFileSync(join(root, 'other.jsonl'), 'utf8');
    writeFileSync(file, text);
    const held = { data: { file, images: join(root, 'images') }, every: 100, batches: 1 };
    const recipe = {
      ...recipeOf('held'),
      stages: recipeOf('held').stages.map((one) => ({ ...one, evaluation: held })),
    };
    await go(recipe, { stopAfter: 2 });
    writeFileSync(file, text.replace('What is it', 'What was it'));
    const { text: told } = await go(recipe, { resume: true, stopAfter: 1 });
    expect(told).toMatch(/changed at stage 1, step 2: evaluation \["\S+ \S+","\S+ \S+"\] → /);
    // What had none says nothing of it.
    await go(recipeOf('none'), { stopAfter: 2 });
    expect(JSON.parse(recordOf('none'))).toMatchObject({ evaluation: ['', ''] });
    expect((await go(recipeOf('none'), { resume: true, stopAfter: 1 })).text).not.toMatch(/changed/);
  });

  test("knows the file of a person's own connector, and says where its text is another", async () => {
    const recipe = { ...recipeOf('own'), connectors: [mine] };
    await go(recipe, { stopAfter: 2 });
    const sha256 = createHash('sha256')
      .update(readFileSync(import.meta.filename))
      .digest('hex');
    const record = JSON.parse(recordOf('own')) as object;
    expect(record).toMatchObject({ connectors: { mine: { file: 'run-contents.test.ts', sha256 } } });
    const older = { mine: { file: 'run-contents.test.ts', sha256: 'older' } };
    writeFileSync(join(runs, 'own', 'config.json'), JSON.stringify({ ...record, connectors: older }));
    const { text } = await go(recipe, { resume: true, stopAfter: 1 });
    expect(text).toContain(`changed at stage 1, step 2: connectors.mine.sha256 older → ${sha256}`);
  });
});

test('connectors of the zoo have no file of their own', async () => {
  const all = await zoo();
  expect(all.length).toBeGreaterThan(10);
  expect(all.filter(({ connector }) => sourceOf(connector) !== undefined)).toEqual([]);
});

test('pictures are known by what they hold, not by where they lie; one that is missing is another', async () => {
  const file = openLlavaFile(join(root, 'train.jsonl'));
  try {
    const digest = (images: string): string => pictureDigest({ file: file.path, images }, file);
    mkdirSync(join(root, 'elsewhere'), { recursive: true });
    const missing = digest(join(root, 'elsewhere'));
    copyFileSync(red, join(root, 'elsewhere/red.png'));
    const here = digest(join(root, 'images'));
    expect(digest(join(root, 'elsewhere'))).toBe(here);
    await blue(join(root, 'elsewhere/red.png'));
    expect(new Set([missing, here, digest(join(root, 'elsewhere'))]).size).toBe(3);
  } finally {
    file.close();
  }
});
