// Towers on a person's own data: what is held out and sliced, and (with OPABINIA_ALL=1) the whole of it on made parts.
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { gradients, reduce, trace } from '../../dsl/index.ts';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { assemble } from '../../pipelines/assemble/assemble.ts';
import { planTraining, subjectOf } from '../../pipelines/plan/plan-training.ts';
import { adamW } from '../../pipelines/train/optimizers/adamw.ts';
import { readSample } from '../../pipelines/train/data/llava-file.ts';
import type { Stage } from '../../pipelines/train/recipe/recipe.ts';
import { trainableOf } from '../../pipelines/train/trainable-of.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { evaluate } from '../../runtime/reference/reference.ts';
import { openOwnData, plainAnswer } from '../../pipelines/probe/own-data.ts';
import { probeOwn, type OwnProbeOptions } from '../../pipelines/probe/own-probe.ts';
import { readEntries } from '../../pipelines/probe/towers.ts';
import { openDataSet } from '../../pipelines/train/data/open-data.ts';
import { makeLanguage } from '../support/made-language.ts';
import { everything } from '../support/share.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-own-'));
let device: Promise<Device> | undefined;
afterAll(async () => {
  (await device)?.close();
  rmSync(root, { recursive: true });
});

const colors = ['#f00', '#0f0', '#00f'];
const sample = (i: number, more: object = {}) => ({
  image: `${i % 6}.png`,
  conversations: [
    { from: 'human', value: '<image>\nWhat is it?' },
    { from: 'gpt', value: ['yes', 'no', 'it'][i % 3] },
  ],
  ...more,
});
const lines = (samples: readonly unknown[]): string => samples.map((one) => `${JSON.stringify(one)}\n`).join('');
beforeAll(async () => {
  mkdirSync(join(root, 'data/images'), { recursive: true });
  for (let i = 0; i < 6; i++)
    writeFileSync(
      join(root, 'data/images', `${i}.png`),
      await sharp({ create: { width: 12, height: 12, channels: 3, background: colors[i % 3] ?? '' } })
        .png()
        .toBuffer(),
    );
});

describe('what is held out', () => {
  test('a fifth of the pictures of one file, none on both sides', () => {
    const all = Array.from({ length: 30 }, (_, i) => sample(i, { category: i % 2 === 0 ? 'even' : 'odd' }));
    writeFileSync(join(root, 'data/data.jsonl'), lines(all));
    const { train, held, slices } = openOwnData(join(root, 'data'), join(root, 'split'));
    const opened = openDataSet(train, 0);
    const learned = Array.from({ length: opened.count }, (_, i) => opened.file?.sample(i).image);
    opened.file?.close();
    expect([learned.length, held.length]).toEqual([25, 5]);
    expect(learned.filter((image) => held.some((one) => one.image === image))).toEqual([]);
    expect(slices).toEqual([...new Set(held.map(({ slice }) => slice))].sort());
    expect(openOwnData(join(root, 'data'), join(root, 'split')).held).toEqual(held);
  });

  test('a file of its own, sliced; wrong folders are told', () => {
    const folder = join(root, 'two');
    mkdirSync(folder);
    writeFileSync(join(folder, 'train.jsonl'), lines([sample(0)]));
    writeFileSync(join(folder, 'test.jsonl'), lines([sample(1, { slice: 'a' }), sample(2, { slice: 'b' })]));
    const { held, slices } = openOwnData(folder, join(root, 'split'));
    expect(slices).toEqual(['a', 'b']);
    expect(held[0]).toEqual({ image: join(folder, '1.png'), question: 'What is it?', answer: 'no', slice: 'a' });
    writeFileSync(join(folder, 'test.jsonl'), lines([sample(1), sample(2)]));
    expect(openOwnData(folder, join(root, 'split')).slices).toEqual([]);
    writeFileSync(join(folder, 'test.jsonl'), lines([sample(1, { slice: 'all' })]));
    expect(() => openOwnData(folder, join(root, 'split'))).toThrow(/a slice 'all'/);
    expect(() => openOwnData(join(root, 'data/images'), join(root, 'split'))).toThrow(/neither train\.jsonl/);
  });

  test('answers are compared but for case and a full stop', () => {
    expect(plainAnswer(' Two  Red buses. ')).toBe('two red buses');
    expect(plainAnswer('3.5')).not.toBe(plainAnswer('35'));
  });
});

const options = (more: Partial<OwnProbeOptions> = {}): OwnProbeOptions => ({
  data: join(root, 'data'),
  language: join(root, 'llama'),
  settings: [{ frozen: true, stages: 1 }],
  tokens: 16,
  connector: 'deco',
  seeds: 1,
  steps: 2,
  batch: 2,
  rate: 1e-3,
  length: 64,
  answerTokens: 2,
  root: join(root, 'runs'),
  device: async () => (device ??= openDevice()),
  stopped: () => false,
  print: () => undefined,
  ...more,
});

/** The coarse encoder of the shapes in front of a small Llama. */
async function assembled(name: string): Promise<string> {
  const [entry] = readEntries('shapes:0', 'S');
  const { directory } = await assemble({
    towers: [entry?.towers[0]?.part.files.directory ?? ''],
    connector: 'deco',
    tokens: 16,
    language: makeLanguage(join(root, `${name}-llama`), 'llama'),
    out: join(root, name),
  });
  return directory;
}

test('towers that learn read pixels, and the loss of them is that of their maps', { timeout: 300_000 }, async () => {
  const directory = await assembled('assembled');
  const opened = await openModel(directory, { dtype: 'f32' });
  const stage = (unfreezeTowers: boolean): Stage => ({
    name: 'one',
    data: { file: '', images: join(root, 'data/images') },
    groups: [{ paths: ['*'], lr: 1e-3 }],
    unfreezeTowers,
    optimizer: adamW(),
    schedule: { shape: 'constant' },
    batch: 2,
    steps: 1,
    length: 64,
    layout: 'unpad',
  });
  try {
    const losses: number[] = [];
    for (const learns of [false, true]) {
      const trainable = trainableOf(opened, {
        device: await (device ??= openDevice()),
        stage: stage(learns),
        seed: 1,
        cache: join(root, 'runs'),
        first: () => Promise.reject(new Error('no sample is to be replaced')),
      });
      const towers = trainable.paths.filter((path) => path.startsWith('vision_tower.'));
      expect(towers.length > 0).toBe(learns);
      const batch = await trainable.batch([0, 1].map((i) => readSample(sample(i), 'data', `line ${i}`)));
      expect(batch.inputs.has('pixels_0')).toBe(learns);
      const graph = trace(
        trainable.source,
        (t) => {
          const loss = trainable.loss(t, t.params);
          const last = towers[0];
          const shape = last === undefined ? undefined : trainable.source.shape(last);
          if (last === undefined || shape === undefined) return { loss };
          const axes = shape.map((_, i) => `x${i}`).join(' ');
          const p = t.params.at(...last.split('.').slice(0, -1)).get(last.split('.').at(-1) ?? '', axes);
          const [slope] = gradients(loss, [p]);
          return slope === undefined ? { loss } : { loss, slope: reduce(slope.mul(slope), `${axes} -> `, 'sum') };
        },
        { unread: 'ignore' },
      );
      const { outputs } = evaluate(
        graph,
        { params: trainable.source.read, inputs: batch.inputs },
        { precision: 'f64' },
      );
      losses.push(outputs.get('loss')?.data[0] ?? NaN);
      if (learns) expect(outputs.get('slope')?.data[0]).toBeGreaterThan(0);
      trainable.close();
    }
    // Maps are kept in f16.
    expect(Math.abs((losses[0] ?? 0) - (losses[1] ?? NaN))).toBeLessThan(2 ** -8 * (losses[0] ?? 0));
  } finally {
    opened.close();
  }
});

test(
  'a planned step of a model whose towers learn runs them, holds their moments, and reads pixels',
  { timeout: 120_000 },
  async () => {
    const directory = await assembled('planned');
    const planned = async (stage: 1 | 2, unfreezeTowers: boolean) => {
      const options = { stage, dtype: 'f32', length: 64, batch: 1, unfreezeTowers } as const;
      return planTraining(await subjectOf(directory, options), options);
    };
    const [frozen, learning, first] = [await planned(2, false), await planned(2, true), await planned(1, true)];
    const ofTowers = (paths: readonly string[]): number =>
      paths.filter((path) => path.startsWith('vision_tower.')).length;
    expect([frozen, first].map(({ learned }) => ofTowers(learned))).toEqual([0, 0]);
    expect(ofTowers(learning.learned)).toBeGreaterThan(0);
    expect(learning.plan.inputs.map(({ name }) => name)).toContain('pixels_0');
    expect(frozen.plan.inputs.map(({ name }) => name)).toContain('features_0');
    expect(learning.plan.memory.states).toBeGreaterThan(frozen.plan.memory.states);
    expect(learning.flops).toBeGreaterThan(frozen.flops);
  },
);

test('a row that cannot be made is told before the first is trained', { timeout: 120_000 }, async () => {
  const runs = join(root, 'refused');
  const language = makeLanguage(join(root, 'refused-llama'), 'llama');
  const device = () => Promise.reject(new Error('trained'));
  // The first row would do.
  const entries = readEntries('shapes:0,shapes:0+shapes:1', 'S');
  await expect(probeOwn(entries, options({ language, root: runs, connector: undefined, device }))).rejects.toThrow(
    /'mlp2x' reads one tower, and 2 are given/,
  );
  expect(existsSync(join(runs, 'models'))).toBe(false);
});

test.runIf(everything)(
  'two stages and one, towers frozen and not, to the end and again',
  { timeout: 900_000 },
  async () => {
    makeLanguage(join(root, 'llama'), 'llama');
    const settings = [
      { frozen: true, stages: 1 },
      { frozen: true, stages: 2 },
      { frozen: false, stages: 2 },
    ] as const;
    const probed = await probeOwn(readEntries('shapes:0', 'S'), options({ settings }));
    expect(probed.complete).toBe(true);
    expect(probed.rows.map(({ towers, setting, tokens }) => [towers, setting.stages, tokens])).toEqual([
      [['shapes:0'], 1, 16],
      [['shapes:0'], 2, 16],
      [['shapes:0'], 2, 16],
    ]);
    const [frozen, , learning] = probed.rows;
    expect(learning?.parameters).toBeGreaterThan(frozen?.parameters ?? Infinity);
    for (const { runs, parameters } of probed.rows) {
      expect(parameters).toBeGreaterThan(0);
      expect(runs[0]?.counts['all']?.asked).toEqual([1, 1, 1, 1, 1]);
    }
    const again = await probeOwn(
      readEntries('shapes:0', 'S'),
      options({ settings, device: () => Promise.reject(new Error('not kept')) }),
    );
    expect(again).toEqual(probed);
  },
);

test('what was probed with other samples to learn from is probed again', { timeout: 300_000 }, async () => {
  makeLanguage(join(root, 'llama'), 'llama');
  const data = join(root, 'edited');
  cpSync(join(root, 'data/images'), join(data, 'images'), { recursive: true });
  const [train, held] = [[sample(0), sample(1), sample(2)], [sample(4)]];
  writeFileSync(join(data, 'held.jsonl'), lines(held));
  writeFileSync(join(data, 'train.jsonl'), lines(train));
  const probe = (more: Partial<OwnProbeOptions> = {}) =>
    probeOwn(readEntries('shapes:0', 'S'), options({ data, root: join(root, 'edited-runs'), ...more }));
  expect((await probe()).complete).toBe(true);
  const again = { stopped: () => true };
  expect((await probe(again)).complete).toBe(true);
  // As many samples, one of which answers otherwise.
  writeFileSync(join(data, 'train.jsonl'), lines(train).replace('"yes"', '"no"'));
  expect((await probe(again)).complete).toBe(false);
});
