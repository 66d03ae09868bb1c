// The small Cambrian that comes with the repository answers about scenes it has never seen, and is at chance where it sees none.
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { shippedModel } from '../../examples/shapes/demo.ts';
import { judgeModel } from '../../examples/shapes/judge-model.ts';
import { learnedSlices } from '../../examples/shapes/samples.ts';
import { plainGuess } from '../../pipelines/shapes/scene/card.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';

const asked = 200;

describe('the small Cambrian', () => {
  let device: Device;
  beforeAll(async () => {
    device = await openDevice();
  });
  afterAll(() => device.close());

  it('answers 200 held-out questions, 88 of 100 right', { timeout: 240_000 }, async () => {
    const { all } = await judgeModel(shippedModel, device, asked);
    expect(all.asked).toBe(asked);
    expect(all.right / all.asked).toBeGreaterThanOrEqual(0.88);
  });

  it('is near chance where it is shown nothing', { timeout: 240_000 }, async () => {
    const { all, slices } = await judgeModel(shippedModel, device, asked, { blind: true });
    // A side and what is nearer are one of two that the question names; of the others the most frequent answer.
    const guesses = plainGuess('S');
    const chance = learnedSlices.reduce((sum, slice) => {
      const share = slice === 'side' || slice === 'nearer' ? 1 / 2 : (guesses.get(slice)?.share ?? NaN);
      return sum + share * ((slices.get(slice)?.asked ?? NaN) / all.asked);
    }, 0);
    // Three deviations of as many throws of a coin.
    expect(all.right / all.asked).toBeLessThan(chance + 3 * Math.sqrt((chance * (1 - chance)) / all.asked));
  });

  it('takes at most 8 MB', () => {
    const files = readdirSync(shippedModel, { recursive: true, encoding: 'utf8' });
    const bytes = files.reduce((sum, file) => sum + statSync(join(shippedModel, file)).size, 0);
    expect(bytes).toBeLessThanOrEqual(8e6);
  });
});
