// The small Cambrian that comes with the repository answers about scenes it has never seen, and is at chance where it sees none.
import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeBenchmarks } from '../../examples/shapes/benchmarks.ts';
import { shippedModel } from '../../examples/shapes/demo.ts';
import { judgeModel, pictureOf } from '../../examples/shapes/judge-model.ts';
import { preset } from '../../examples/shapes/model-config.ts';
import { learnedSlices } from '../../examples/shapes/samples.ts';
import { openModel } from '../../pipelines/answer/open-model.ts';
import { RowSession } from '../../pipelines/answer/rows/row-session.ts';
import { evaluate } from '../../pipelines/eval/evaluate.ts';
import { plainGuess } from '../../pipelines/shapes/scene/card.ts';
import { makeScene, scenePresets } from '../../pipelines/shapes/scene/scene.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';

const asked = 200;

/** Of one token before the next, in log-probability. */
const sure = 0.1;

/** What it says of held-out scenes, token by token, and how much likelier each was than the next. */
async function described(device: Device, weights?: { readonly format: 'q8' }) {
  const model = await openModel(shippedModel, weights === undefined ? {} : { weights });
  const scenes = [7, 8, 9, 11, 13, 17].map((seed) => makeScene(scenePresets[preset], seed));
  const session = await RowSession.open(model, device, {
    rows: scenes.length,
    context: 96,
    images: 1,
    draws: 'greedy',
  });
  const all = await Promise.all(
    scenes.map(async (scene) => {
      const leads: number[] = [];
      const told = ({ top }: { readonly top: readonly { readonly logprob: number }[] }): void =>
        void leads.push((top[0]?.logprob ?? NaN) - (top[1]?.logprob ?? NaN));
      const question = { text: 'Describe the picture.', images: [pictureOf(scene)] };
      const answer = session.ask(question, { maxNewTokens: 32, scores: { top: 2, told } });
      for (;;) {
        const next = await answer.next();
        if (next.done === true) return { tokens: [...next.value.tokens], leads };
      }
    }),
  );
  await session.close();
  model.close();
  return all;
}

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

  it('says in eight bits what it says in f16, for twenty tokens and more', { timeout: 240_000 }, async () => {
    const [f16, q8] = [await described(device), await described(device, { format: 'q8' })];
    const same = f16.map(({ tokens, leads }, i) => {
      const other = tokens.findIndex((token, at) => q8[i]?.tokens[at] !== token);
      // Where they part, f16 was not sure: which shape is named first is a lot.
      if (other >= 0) expect(leads[other]).toBeLessThan(sure);
      return other < 0 ? tokens.length : other;
    });
    expect(Math.max(...same)).toBeGreaterThanOrEqual(20);
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
