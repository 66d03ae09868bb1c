// Towers as representations: what is asked for is what is trained and read, runs that are done are kept, tables say what the answers say.
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { openCheckpoint } from '../../runtime/checkpoint/checkpoint.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';
import { channelConcat } from '../../pipelines/probe/channel-concat.ts';
import { fileName } from '../../pipelines/probe/keep-run.ts';
import {
  printProbed,
  probedJson,
  verdicts,
  type Probed,
  type ProbedRow,
  type Setting,
} from '../../pipelines/probe/probed.ts';
import { probeShapes, type ShapesProbeOptions } from '../../pipelines/probe/shapes-probe.ts';
import { newestCheckpoint } from '../../pipelines/train/run/checkpoints.ts';
import { readEntries } from '../../pipelines/probe/towers.ts';
import { averagePooling } from '../../pipelines/shapes/variants/controls.ts';
import type { AnyConnector } from '../../models/connectors/connector.ts';
import { everything } from '../support/share.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-probe-'));
let device: Promise<Device> | undefined;
afterAll(async () => {
  (await device)?.close();
  rmSync(root, { recursive: true });
});

describe('towers', () => {
  test('by number, by directory, in pairs', () => {
    const [one, pair] = readEntries('shapes:1, shapes:0+shapes:1', 'S');
    expect(one?.towers.map(({ part }) => part.map)).toEqual([[16, 16, 32]]);
    expect(pair?.towers.map(({ part }) => part.map)).toEqual([
      [8, 8, 64],
      [16, 16, 32],
    ]);
    expect(pair?.towers[1]).toBe(one?.towers[0]);
    const { directory } = one?.towers[0]?.part.files ?? {};
    expect(readEntries(directory ?? '', 'S')[0]?.towers[0]?.key).toBe(one?.towers[0]?.key);
  });

  test.each([
    ['shapes:2', /'shapes:2' is not an encoder/],
    ['shapes:0,shapes:0', /stands twice/],
    [' , ', /no tower/],
    ['/nowhere/at/all', /nowhere/],
  ])('%s', (text, message) => expect(() => readEntries(text, 'S')).toThrow(message));
});

const options = (more: Partial<ShapesProbeOptions> = {}): ShapesProbeOptions => ({
  preset: 'S',
  settings: [{ frozen: true, stages: 1 }],
  tokens: 16,
  seeds: 1,
  steps: 2,
  root: join(root, 'runs'),
  sizes: { train: 8, held: 6, batch: 4 },
  device: async () => (device ??= openDevice()),
  stopped: () => false,
  print: () => undefined,
  ...more,
});

test('frozen and unfrozen, one stage and two: who learns, and who is kept', { timeout: 1_800_000 }, async () => {
  const settings: readonly Setting[] = [
    { frozen: true, stages: 1 },
    ...(everything ? ([{ frozen: false, stages: 2 }] as const) : []),
  ];
  const pair = everything ? 'shapes:0+shapes:1' : 'shapes:0';
  const entries = readEntries(pair, 'S');
  const printed: string[] = [];
  const probed = await probeShapes(entries, options({ settings, print: (line) => printed.push(line) }));
  expect(probed.rows).toHaveLength(1 + entries.length * settings.length);
  expect(probed.complete).toBe(true);
  for (const row of probed.rows) {
    expect(row.runs.map(({ steps }) => steps)).toEqual([2]);
    // Every question of the six held-out pictures, in exactly one slice.
    const asked = (slice: string) => row.runs[0]?.counts[slice]?.asked.reduce((sum, one) => sum + one, 0) ?? 0;
    expect(asked('all')).toBe(48);
    expect(probed.slices.reduce((sum, slice) => sum + asked(slice), 0)).toBe(48);
  }
  const runs = join(root, 'runs');
  const learnedFile = (setting: string, stage: number) => {
    const folder = join(runs, `${fileName(`${pair}${setting}`)}-seed-1`, `stage-${stage}`);
    const last = newestCheckpoint(folder, () => undefined);
    last?.close();
    return join(last?.path ?? '', 'model.safetensors');
  };
  const learned = (setting: string, stage: number) => openCheckpoint(learnedFile(setting, stage), { dtype: 'f32' });
  const frozen = learned('', 2);
  const heads = (names: Iterable<string>) => [...new Set([...names].map((name) => name.split('.')[0] ?? ''))].sort();
  expect(heads(frozen.stored.keys())).toEqual(['connector', 'decoder', 'question']);
  frozen.close();
  if (everything) {
    const [connector, all] = [learned(' unfrozen two stages', 1), learned(' unfrozen two stages', 2)];
    expect(heads(connector.stored.keys())).toEqual(['connector']);
    expect(heads(all.stored.keys())).toEqual(['connector', 'decoder', 'question', 'tower_0', 'tower_1']);
    // A tower that learns begins with its own weights: one step at a rate of 0.003 moves each by no more than that.
    const own = openCheckpoint(entries.at(-1)?.towers[0]?.part.weights.path ?? '', { dtype: 'f32' });
    for (const [path, { shape }] of all.stored) {
      if (!path.startsWith('tower_0.')) continue;
      const [after, before] = [all.read(path, shape), own.read(path.slice(8), shape)];
      expect(Math.max(...before.map((value, i) => Math.abs(value - (after[i] ?? NaN)))), path).toBeLessThan(0.0031);
    }
    for (const checkpoint of [connector, all, own]) checkpoint.close();
  }
  // The same command asks no device; another connector does, and learns anew in the folder of the same row.
  const again = await probeShapes(entries, options({ settings, device: () => Promise.reject(new Error('not kept')) }));
  expect(again.rows).toEqual(probed.rows);
  const connector = averagePooling as unknown as AnyConnector;
  expect(await probeShapes(entries, options({ connector, stopped: () => true }))).toMatchObject({ complete: false });
  const before = statSync(learnedFile('', 2)).mtimeMs;
  expect(await probeShapes(entries, options({ connector }))).toMatchObject({ complete: true });
  expect(statSync(learnedFile('', 2)).mtimeMs).toBeGreaterThan(before);
});

test('a connector that fits nothing is told, and nothing is trained', async () => {
  const connector = { ...channelConcat, towers: 'one' as const } as unknown as AnyConnector;
  await expect(probeShapes(readEntries('shapes:0+shapes:1', 'S'), options({ connector }))).rejects.toThrow(
    /reads one tower/,
  );
});

describe('what is said', () => {
  const row = (towers: readonly string[], share: number, more: Partial<ProbedRow['setting']> = {}): ProbedRow => ({
    towers,
    setting: { frozen: true, stages: 1, ...more },
    tokens: 16,
    parameters: 1000,
    runs: [1, 2].map((seed) => {
      const right = Array.from({ length: 60 }, (_, i) => (i < 60 * share ? 2 : 0));
      const counts = { right, asked: right.map(() => 2) };
      return { seed, steps: 5, seconds: 1, counts: { all: counts, color: counts } };
    }),
  });
  const probed: Probed = {
    about: 'a test',
    slices: ['color'],
    rows: [row([], 0.1), row(['a'], 0.5), row(['b'], 0.1), row(['a', 'b'], 0.9), row(['a'], 0.52, { frozen: false })],
    failed: [],
    complete: true,
  };

  test('a pair against each of its towers, unfrozen against frozen, all against blind', () => {
    const told = verdicts(probed);
    expect(told).toContain('b does not pass the blind baseline: this budget is too small to say anything about it');
    expect(told.find((line) => line.startsWith('a+b against a, all'))).toMatch(/better by \+0\.400/);
    expect(told.find((line) => line.startsWith('a+b against b, all'))).toMatch(/better by \+0\.800/);
    expect(told.some((line) => line.startsWith('a unfrozen against a'))).toBe(true);
    expect(told.some((line) => line.startsWith('a against'))).toBe(false);
  });

  test('the table and its JSON', () => {
    const text = printProbed(probed);
    expect(text).toMatch(/a\+b +frozen, one stage +2 +0\.900 ±0\.\d+ +0\.900/);
    expect(text).toMatch(/a +unfrozen, one stage/);
    expect(probedJson(probed)).toMatchObject({ rows: [{ accuracy: { all: { mean: 0.1 } } }, {}, {}, {}, {}] });
  });

  test('names of folders are told apart', () => {
    expect(fileName('shapes-0+b')).toBe('shapes-0+b');
    expect(fileName('a/b')).not.toBe(fileName('a_b'));
  });
});
