// A made model and small runs of it, a test file at a time: what the tests of runs that go on share.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll } from 'vitest';
import { assemble } from '../../../pipelines/assemble/assemble.ts';
import { sgd } from '../../../pipelines/train/optimizers/sgd.ts';
import { printEnd } from '../../../pipelines/train/record/print-end.ts';
import type { Recipe, Stage } from '../../../pipelines/train/recipe/recipe.ts';
import { train } from '../../../pipelines/train/train.ts';
import { openDevice } from '../../../runtime/device/dawn.ts';
import type { Device } from '../../../runtime/device/device.ts';
import { makeLanguage } from '../../support/made-language.ts';

const encoder = join(import.meta.dirname, '../../../examples/shapes/encoders/shapes-s-8-64');

/** Made before the tests of the file that asks, and gone after them. Files of one process share modules, so each asks for its own. */
export function madeRuns() {
  const root = mkdtempSync(join(tmpdir(), 'opabinia-resume-'));
  const runs = join(root, 'runs');
  let opened: Device | undefined;
  const device = (): Device => {
    if (opened === undefined) throw new TypeError('the device is open while tests run');
    return opened;
  };

  beforeAll(async () => {
    mkdirSync(join(root, 'images'));
    const red = sharp({ create: { width: 12, height: 12, channels: 3, background: '#f00' } });
    writeFileSync(join(root, 'images/red.png'), await red.png().toBuffer());
    const sample = (value: string) => ({
      image: 'red.png',
      conversations: [
        { from: 'human', value: '<image>\nWhat is it?' },
        { from: 'gpt', value },
      ],
    });
    for (const [file, answers] of [
      ['train', ['yes', 'no', 'it']],
      ['other', ['no']],
    ] as const)
      writeFileSync(join(root, `${file}.jsonl`), answers.map((value) => `${JSON.stringify(sample(value))}\n`).join(''));
    await assemble({
      towers: [encoder],
      connector: 'linear',
      language: makeLanguage(join(root, 'llama'), 'llama'),
      out: join(root, 'model'),
    });
    opened = await openDevice();
  }, 120_000);
  afterAll(() => {
    opened?.close();
    rmSync(root, { recursive: true });
  });

  const stage = (name: string, changes: Partial<Stage> = {}): Stage => ({
    name,
    data: { file: join(root, 'train.jsonl'), images: join(root, 'images') },
    groups: [{ paths: ['*mm_projector*'], lr: 1e-3 }],
    optimizer: sgd({ momentum: 0.9 }),
    schedule: { shape: 'cosine', warmup: { steps: 1 } },
    batch: 1,
    steps: 4,
    length: 128,
    saveEvery: 2,
    logEvery: 1,
    ...changes,
  });
  const recipeOf = (name: string, last: Partial<Stage> = {}): Recipe => ({
    name,
    model: join(root, 'model'),
    seed: 1,
    stages: [stage('one'), stage('two', { schedule: { shape: 'constant' }, steps: 2, ...last })],
  });

  async function go(recipe: Recipe, { resume = false, stopAfter = Infinity } = {}) {
    const lines: string[] = [];
    let steps = 0;
    const report = await train(recipe, device(), {
      root: runs,
      resume,
      stopped: () => ++steps >= stopAfter,
      print: (line) => lines.push(line),
    });
    return { report, text: lines.join('\n'), end: printEnd(report, recipe.stages.length) };
  }
  const recordOf = (name: string) => readFileSync(join(runs, name, 'config.json'), 'utf8');
  const learnedBy = (name: string) => readFileSync(join(runs, name, 'stage-2.safetensors'));
  return { root, runs, device, stage, recipeOf, go, recordOf, learnedBy };
}
