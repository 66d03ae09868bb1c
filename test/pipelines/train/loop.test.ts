// The loop on the device: the same bytes twice, and when it is stopped and goes on; what is not finite is skipped; nothing is made anew.
import { spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Stage } from '../../../pipelines/train/recipe/recipe.ts';
import { sgd } from '../../../pipelines/train/optimizers/sgd.ts';
import { OpabiniaError } from '../../../dsl/error.ts';
import {
  listCheckpoints,
  newestCheckpoint,
  saveCheckpoint,
  type SavedState,
} from '../../../pipelines/train/run/checkpoints.ts';
import { RunFolder } from '../../../pipelines/train/run/run-folder.ts';
import { sanity } from '../../../pipelines/train/run/sanity.ts';
import { trainStage } from '../../../pipelines/train/run/train-stage.ts';
import type { Device } from '../../../runtime/device/device.ts';
import { openDevice } from '../../../runtime/device/dawn.ts';
import { mlp, mlpStage, numbered } from './mlp.ts';
import { everything } from '../../support/share.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-train-'));
let device: Device;
beforeAll(async () => {
  device = await openDevice();
});
afterAll(() => {
  device.close();
  rmSync(root, { recursive: true });
});

interface Course {
  readonly name: string;
  readonly total?: number;
  readonly resume?: boolean;
  /** Steps after which the user stops. */
  readonly stopAfter?: number;
  readonly stage?: Stage;
  readonly poison?: (sample: number) => boolean;
  readonly label?: (sample: number) => number;
  /** Why a sample is replaced. */
  readonly replaced?: (sample: number) => string | undefined;
  /** What the inputs are multiplied by. */
  readonly loud?: number;
}

async function run({
  name,
  total = 8,
  resume = false,
  stopAfter = Infinity,
  stage = mlpStage(),
  poison,
  label,
  replaced,
  loud = 1,
}: Course) {
  const folder = new RunFolder(root, name, resume);
  const lines: string[] = [];
  const checkpoint = resume ? newestCheckpoint(folder.path, (text) => lines.push(text)) : undefined;
  folder.rewind(0, checkpoint?.position.step ?? 0);
  try {
    const rows = stage.microBatch ?? stage.batch;
    const model = mlp(rows, poison, label);
    let steps = 0;
    const result = await trainStage({
      stage,
      index: 0,
      trainable: {
        ...model,
        batch: async (samples) => {
          const batch = await model.batch(samples);
          const x = Float32Array.from(batch.inputs.get('x') ?? [], (value) => loud * value);
          return {
            ...batch,
            inputs: new Map([...batch.inputs, ['x', x]]),
            replaced: samples.flatMap(({ length }) => replaced?.(length) ?? []),
          };
        },
      },
      device,
      folder,
      total,
      count: 12,
      samples: numbered(checkpoint?.position.samples ?? 0),
      checkpoint,
      stopped: () => ++steps >= stopAfter,
      print: (line) => lines.push(line),
    });
    return { result, lines, folder };
  } finally {
    checkpoint?.close();
  }
}

function bytes(name: string): readonly [Buffer, Buffer] {
  const [last] = listCheckpoints(join(root, name));
  const read = (file: string): Buffer => readFileSync(join(last?.path ?? '', file));
  return [read('model.safetensors'), read('optimizer.safetensors')];
}

describe('a run', () => {
  test(
    'learns, logs every step, keeps two checkpoints, and is the same bytes again',
    { timeout: 300_000 },
    async () => {
      const { result, lines, folder } = await run({ name: 'a' });
      expect(result.ended).toBe('done');
      const metrics = folder.metrics();
      expect(metrics.map((line) => line.step)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
      expect(metrics[0]?.learningRate).toBe(0);
      expect(lines.filter((line) => line.startsWith('  ✓')).length).toBeGreaterThan(4);
      expect(listCheckpoints(join(root, 'a')).map(({ step }) => step)).toEqual([8, 6]);
      const state: unknown = JSON.parse(readFileSync(join(root, 'a', 'trainer_state.json'), 'utf8'));
      expect(state).toMatchObject({ global_step: 8, max_steps: 8, log_history: { length: 8 } });
      await run({ name: 'b' });
      expect(bytes('b')).toEqual(bytes('a'));
    },
  );

  test.each([1, 3, 4])(
    'stopped after %i steps and gone on is the run that was never stopped',
    { timeout: 300_000 },
    async (stopAfter) => {
      const name = `stopped-${stopAfter}`;
      const first = await run({ name, stopAfter });
      expect(first.result).toMatchObject({ ended: 'stopped', position: { step: stopAfter } });
      const second = await run({ name, resume: true });
      expect(second.result.ended).toBe('done');
      expect(bytes(name)).toEqual(bytes('a'));
      expect(second.folder.metrics().map((line) => [line.step, line.loss])).toEqual(
        new RunFolder(root, 'a', true).metrics().map((line) => [line.step, line.loss]),
      );
    },
  );

  test('killed behind a checkpoint and gone on, too', { timeout: 300_000 }, async () => {
    const child = spawn(process.execPath, [join(import.meta.dirname, 'child.ts'), root, 'killed'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const ended = new Promise((resolve) => child.once('exit', resolve));
    for await (const line of createInterface({ input: child.stdout })) if (line.includes('4/8')) child.kill('SIGKILL');
    await ended;
    expect(listCheckpoints(join(root, 'killed')).at(-1)?.step).toBe(3);
    await run({ name: 'killed', resume: true });
    expect(bytes('killed')).toEqual(bytes('a'));
  });

  test('goes on from the checkpoint before, where the last one is damaged', { timeout: 300_000 }, async () => {
    await run({ name: 'damaged' });
    const [last] = listCheckpoints(join(root, 'damaged'));
    const file = join(last?.path ?? '', 'model.safetensors');
    const content = readFileSync(file);
    content[content.length - 1] = (content.at(-1) ?? 0) ^ 1;
    writeFileSync(file, content);
    const { lines } = await run({ name: 'damaged', resume: true });
    expect(lines.join('\n')).toMatch(/model\.safetensors is not what was saved/);
    expect(bytes('damaged')).toEqual(bytes('a'));
  });

  test.skipIf(!everything)('200 steps are the same bytes twice', { timeout: 900_000 }, async () => {
    const stage = mlpStage({ saveEvery: 150, logEvery: 50 });
    await run({ name: 'long-1', total: 200, stage });
    await run({ name: 'long-2', total: 200, stage, stopAfter: 117 });
    await run({ name: 'long-2', total: 200, stage, resume: true });
    expect(bytes('long-2')).toEqual(bytes('long-1'));
  });

  test('micro-batches give the step of the whole batch', { timeout: 300_000 }, async () => {
    const { folder } = await run({ name: 'micro', total: 3, stage: mlpStage({ microBatch: 2 }) });
    const { folder: whole } = await run({ name: 'whole', total: 3 });
    const losses = folder.metrics().map((line) => line.loss ?? NaN);
    whole.metrics().forEach((line, i) => expect(losses[i]).toBeCloseTo(line.loss ?? NaN, 5));
  });

  test(
    'a step that is not finite changes nothing and is told; ten in a row end the run',
    { timeout: 300_000 },
    async () => {
      const { folder, lines } = await run({ name: 'poison', total: 3, poison: (sample) => sample === 6 });
      expect(folder.metrics().map((line) => line.skipped)).toEqual([false, true, false]);
      expect(lines.join('\n')).toMatch(/step 2 is skipped/);
      await expect(run({ name: 'lost', total: 20, poison: (sample) => sample > 4 })).rejects.toThrow(
        /10 steps in a row/,
      );
      expect(readdirSync(join(root, 'lost')).some((name) => name.startsWith('checkpoint'))).toBe(true);
    },
  );

  test(
    'labels that are no class: their steps change nothing and are told; ten in a row end the run',
    { timeout: 300_000 },
    async () => {
      const label = (sample: number) => (sample > 4 ? 3 : sample % 3);
      await expect(run({ name: 'labels', total: 20, label })).rejects.toThrow(
        /10 steps in a row[^]*a label that is no class/,
      );
      const lines = new RunFolder(root, 'labels', true).metrics();
      expect(lines.map((line) => line.skipped)).toEqual([false, ...Array.from({ length: 9 }, () => true)]);
    },
  );

  test(
    'samples that are replaced are told in every step, a reason once, and counted',
    { timeout: 300_000 },
    async () => {
      // Samples 1 to 12, four a step: the second, that of the checks; then all of the second step for one reason, and one of the third.
      const why = (sample: number) =>
        sample === 2 ? 'two' : sample >= 5 && sample <= 8 ? 'many' : sample === 12 ? 'last' : undefined;
      const { lines } = await run({ name: 'replaced', total: 3, replaced: why });
      expect(lines.filter((line) => line.includes('replaced') && !line.includes('saved'))).toEqual([
        '  · replaced by the first sample: two',
        '  · step 2: replaced by the first sample: many',
        '  · step 3: replaced by the first sample: last',
        '  · 6 of 12 samples were replaced by the first one',
      ]);
    },
  );

  test(
    'a loss scale that the first batch does not bear is lowered before the first step, and costs none',
    { timeout: 300_000 },
    async () => {
      const stage = mlpStage({ scaling: { initial: 2 ** 126 } });
      const scaled = await run({ name: 'scaled', total: 3, stage, loud: 100 });
      const [first] = scaled.folder.metrics();
      expect(first?.skipped).toBe(false);
      const scale = first?.scale ?? NaN;
      expect(scale).toBeLessThan(2 ** 126);
      expect(scaled.lines.join('\n')).toMatch(/a loss scale of 8\.5\d+e\+37 is too large[^]*begins at/);
      // The same steps as those that began there.
      const begun = await run({ name: 'begun', total: 3, stage: mlpStage({ scaling: { initial: scale } }), loud: 100 });
      expect(begun.lines.join('\n')).not.toMatch(/too large/);
      expect(bytes('begun')).toEqual(bytes('scaled'));
    },
  );

  test('another optimizer, another model', { timeout: 300_000 }, async () => {
    await expect(
      run({ name: 'a', resume: true, total: 9, stage: mlpStage({ optimizer: sgd({ momentum: 0.9 }) }) }),
    ).rejects.toThrow(/has no state 'momentum_buffer\.\S+': its optimizer is another/);
    const fewer = mlpStage({ groups: [{ paths: ['last.weight'], lr: 0.1 }] });
    await expect(run({ name: 'a', resume: true, total: 9, stage: fewer })).rejects.toThrow(
      /holds '\S+', which this run has not/,
    );
  });

  test(
    'a disk that is full, and any other failure to save, leaves the checkpoints before',
    { timeout: 300_000 },
    async () => {
      const folder = join(root, 'full');
      const state = (values: () => Promise<ArrayLike<number>>): SavedState => ({
        name: 'w',
        shape: [2],
        weight: true,
        values,
      });
      const position = { stage: 0, step: 1, samples: 4, tokens: 4 };
      await saveCheckpoint(folder, position, [state(async () => [1, 2])], {});
      const full = async (): Promise<ArrayLike<number>> => {
        throw new OpabiniaError('ENOSPC');
      };
      await expect(saveCheckpoint(folder, { ...position, step: 2 }, [state(full)], {})).rejects.toThrow(/ENOSPC/);
      expect(readdirSync(folder)).toEqual(['checkpoint-0-1']);
      const opened = newestCheckpoint(folder, () => undefined);
      expect(Array.from(opened?.read('w', [2]) ?? [])).toEqual([1, 2]);
      opened?.close();
    },
  );

  test(
    'weights that are not finite any more are not saved, and what was saved before stays',
    { timeout: 300_000 },
    async () => {
      // No gradient is wrong here: the step itself leaves what f32 holds.
      const far = mlpStage({
        optimizer: sgd(),
        clip: 0,
        saveEvery: 1,
        schedule: { shape: 'constant', warmup: { steps: 1 } },
      });
      const stage = { ...far, groups: [{ paths: ['*'], lr: 1e20, weightDecay: 1e20 }] };
      await expect(run({ name: 'far', stage })).rejects.toThrow(/after step 2 '\S+' holds -?Infinity at element/);
      expect(readdirSync(join(root, 'far')).filter((name) => name.includes('checkpoint'))).toEqual(['checkpoint-0-1']);
    },
  );

  test('more memory than the device has is refused with the three largest items, before anything is allocated', async () => {
    const small = await openDevice({ budget: 600 });
    try {
      const held = small.memory.now;
      await expect(
        trainStage({
          stage: mlpStage(),
          index: 0,
          trainable: mlp(4),
          device: small,
          folder: new RunFolder(root, 'small', false),
          total: 1,
          count: 12,
          samples: numbered(0),
          stopped: () => false,
          print: () => undefined,
        }),
      ).rejects.toThrow(/parameters that learn|optimizer and averages/);
      expect(small.memory.peak).toBe(held);
    } finally {
      small.close();
    }
  });

  test.each([
    ['the published rates', [0.05, 0.02]],
    ['rates for a larger batch', [5e-6, 2e-6]],
    ['rates that are too large', [30, 12]],
  ])('one batch is learned by heart: %s', { timeout: 300_000 }, async (_name, [weights = 0, biases = 0]) => {
    const lines: string[] = [];
    const groups = [
      { paths: ['*weight'], lr: weights, weightDecay: 0.1 },
      { paths: ['*bias'], lr: biases },
    ];
    const result = await sanity({
      stage: mlpStage({ groups }),
      index: 0,
      trainable: mlp(4),
      device,
      samples: numbered(0),
      print: (line) => lines.push(line),
    });
    expect(result.loss).toBeLessThan(0.05);
    expect(lines.at(-1)).toMatch(/one batch, step \d+: loss 0\.0/);
  });

  test('one batch is not learned by heart where nothing moves', { timeout: 300_000 }, async () => {
    const still = mlpStage({ groups: [{ paths: ['*'], lr: 1e-300 }] });
    await expect(
      sanity({ stage: still, index: 0, trainable: mlp(4), device, samples: numbered(0), print: () => undefined }),
    ).rejects.toThrow(/it should be under 0\.05/);
  });

  test('no buffer, group or kernel is made between steps', { timeout: 300_000 }, async () => {
    const before: (readonly [number, number, number])[] = [];
    const folder = new RunFolder(root, 'steady', false);
    await trainStage({
      stage: mlpStage({ saveEvery: 100 }),
      index: 0,
      trainable: mlp(4),
      device,
      folder,
      total: 5,
      count: 12,
      samples: numbered(0),
      stopped: () => {
        before.push([device.created.buffers, device.created.groups, device.created.kernels]);
        return false;
      },
      print: () => undefined,
    });
    expect(new Set(before.map(String)).size).toBe(1);
  });
});
