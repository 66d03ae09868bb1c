// Cambrian's two stages on the small made Cambrian over the photograph, end to end; stopped and gone on with, it is the same bytes.
// Long on a software driver: with OPABINIA_ALL=1.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { recipe } from '../../../examples/train-cambrian.ts';
import { openCheckpoint } from '../../../runtime/checkpoint/checkpoint.ts';
import { openDevice } from '../../../runtime/device/dawn.ts';
import type { Device } from '../../../runtime/device/device.ts';
import { RunFolder } from '../../../pipelines/train/run/run-folder.ts';
import { train } from '../../../pipelines/train/train.ts';
import { everything } from '../../support/share.ts';

const root = mkdtempSync(join(tmpdir(), 'opabinia-cambrian-'));
afterAll(() => rmSync(root, { recursive: true }));

describe.skipIf(!everything)('stage 1 and stage 2', () => {
  let device: Device;
  beforeAll(async () => {
    device = await openDevice();
  });
  afterAll(() => device.close());

  const go = (name: string, options: { readonly stopAfter?: number; readonly resume?: boolean } = {}) => {
    let steps = 0;
    return train({ ...recipe, name }, device, {
      root,
      resume: options.resume,
      stopped: () => ++steps === options.stopAfter,
      print: () => undefined,
    });
  };

  test('know one batch by heart', { timeout: 3_600_000 }, async () => {
    const { stages } = await train({ ...recipe, name: 'sanity' }, device, {
      root,
      sanity: true,
      print: () => undefined,
    });
    expect(stages.map(({ loss }) => loss < 0.05)).toEqual([true, true]);
  });

  test('train, log, save, and go on', { timeout: 3_600_000 }, async () => {
    const { stages, folder } = await go('whole');
    expect(stages.map((stage) => stage.ended)).toEqual(['done', 'done']);
    const lines = new RunFolder(root, 'whole', true).metrics();
    expect(lines.map(({ stage, step }) => [stage, step])).toEqual(
      [0, 1].flatMap((stage) => [1, 2, 3, 4].map((step) => [stage, step])),
    );
    expect(lines.every((line) => Number.isFinite(line.loss) && !line.skipped)).toBe(true);
    const [first, second] = [1, 2].map((stage) => openCheckpoint(join(folder, `stage-${stage}.safetensors`)));
    // The frozen language model is not part of what stage 1 has learned.
    expect([...(first?.stored.keys() ?? [])].some((name) => name.includes('model.layers'))).toBe(false);
    expect(second?.stored.has('lm_head.weight')).toBe(true);
    first?.close();
    second?.close();
    await go('parts', { stopAfter: 3 });
    await go('parts', { resume: true });
    for (const file of ['stage-1.safetensors', 'stage-2.safetensors'])
      expect(readFileSync(join(root, 'parts', file)).equals(readFileSync(join(folder, file)))).toBe(true);
  });
});
