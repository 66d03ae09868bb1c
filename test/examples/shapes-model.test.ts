// The small Cambrian that comes with the repository answers about scenes it has never seen, and is at chance where it sees none.
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeBenchmarks } from '../../examples/shapes/benchmarks.ts';
import { shippedModel } from '../../examples/shapes/demo.ts';
import { judgeModel } from '../../examples/shapes/judge-model.ts';
import { learnedSlices } from '../../examples/shapes/samples.ts';
import { evaluate } from '../../pipelines/eval/evaluate.ts';
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

  it(
    'is judged by eval as it is asked one by one, and CV-Bench has its three scores',
    { timeout: 240_000 },
    async () => {
      const folder = mkdtempSync(join(tmpdir(), 'shapes-eval-'));
      try {
        // Eight questions a scene, the same ones.
        await writeBenchmarks(join(folder, 'bench'), 4);
        const { all } = await judgeModel(shippedModel, device, 32);
        const { result } = await evaluate(shippedModel, {
          benches: [
            { benchmark: 'llava', path: join(folder, 'bench/questions.jsonl') },
            { benchmark: 'cv-bench', path: join(folder, 'bench/cv-bench') },
          ],
          out: join(folder, 'out'),
        });
        const [plain, cvBench] = result.benchmarks;
        expect(plain?.count).toBe(all.asked);
        expect((plain?.figures[0]?.value ?? NaN) * all.asked).toBeCloseTo(all.right);
        const names = cvBench?.figures.map(({ name }) => name).join(', ');
        for (const house of ['paper', 'lmms-eval', 'VLMEvalKit 2D', 'VLMEvalKit 3D']) expect(names).toContain(house);
        // It has learned words and no letters, and the report says so.
        expect(cvBench?.inForm).toBeLessThan(0.5);
      } finally {
        rmSync(folder, { recursive: true });
      }
    },
  );

  it('takes at most 8 MB', () => {
    const files = readdirSync(shippedModel, { recursive: true, encoding: 'utf8' });
    const bytes = files.reduce((sum, file) => sum + statSync(join(shippedModel, file)).size, 0);
    expect(bytes).toBeLessThanOrEqual(8e6);
  });
});
