// The model that comes with the repository answers about scenes that it has not seen, and knows next to nothing without the picture.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { shippedModel } from '../../examples/shapes/demo.ts';
import { judgeModel, type ModelScore, type Score } from '../../examples/shapes/judge-model.ts';
import { preset } from '../../examples/shapes/model-config.ts';
import { learnedSlices } from '../../examples/shapes/samples.ts';
import { questionsOf, type Slice } from '../../pipelines/shapes/scene/questions.ts';
import { makeScene, scenePresets } from '../../pipelines/shapes/scene/scene.ts';
import { openDevice } from '../../runtime/device/dawn.ts';
import type { Device } from '../../runtime/device/device.ts';

const [asked, askedBlind] = [200, 100];
const share = ({ right, asked: all }: Score): number => right / all;

describe('the shipped model', () => {
  let device: Device;
  beforeAll(async () => {
    device = await openDevice();
  });
  afterAll(() => device.close());

  it(`answers ${asked} held-out questions, 88 % of them right`, { timeout: 600_000 }, async () => {
    const score = await judgeModel(shippedModel, device, asked);
    expect(score.all.asked).toBe(asked);
    expect(share(score.all), described(score)).toBeGreaterThanOrEqual(0.88);
  });

  it('guesses where it sees a gray picture instead', { timeout: 600_000 }, async () => {
    const { all, slices } = await judgeModel(shippedModel, device, askedBlind, { blind: true });
    const chance = [...slices].reduce((sum, [slice, score]) => sum + score.asked * guessing(slice), 0) / all.asked;
    // Of so many guesses 99 in 100 times no more are right.
    expect(share(all)).toBeLessThan(chance + 2.33 * Math.sqrt((chance * (1 - chance)) / all.asked));
  });
});

function described({ slices }: ModelScore): string {
  return [...slices].map(([slice, { right, asked: all }]) => `${slice} ${right}/${all}`).join(', ');
}

/** How often the best guess is right that reads the question and not the picture: of two that the question names one, else the most frequent answer. */
function guessing(slice: Slice): number {
  if (slice === 'side' || slice === 'nearer') return 0.5;
  const counts = new Map<string, number>();
  let all = 0;
  for (let seed = 0; seed < 500; seed++)
    for (const question of questionsOf(makeScene(scenePresets[preset], seed), 8, { among: learnedSlices })) {
      if (question.slice !== slice) continue;
      counts.set(question.answer, (counts.get(question.answer) ?? 0) + 1);
      all++;
    }
  return Math.max(...counts.values()) / all;
}
