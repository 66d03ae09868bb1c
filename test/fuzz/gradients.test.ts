// Gradients of random graphs agree with central differences, and planted mistakes in gradient rules do not.
import { expect, test } from 'vitest';
import { judgeGradients, withGradients } from './gradients.ts';
import { gradientMutants, ruleMutants } from './mutants-gradient.ts';
import { plantedGradients, smallCases } from './planted-gradients.ts';
import { everything } from '../support/share.ts';

const seed = 100_003;

test('gradients of random graphs are what differences say', { timeout: 300_000 }, () => {
  let [graphs, compared] = [0, 0];
  for (const given of smallCases(seed)) {
    const made = withGradients(given);
    if (made !== undefined) {
      const judged = judgeGradients(made);
      expect(judged.wrong, `graph ${graphs}`).toBeUndefined();
      compared += judged.compared;
    }
    if (++graphs >= (everything ? 600 : 60)) break;
  }
  expect(compared).toBeGreaterThan(graphs);
});

test('every planted mistake is seen', { timeout: 600_000 }, () => {
  const planted = gradientMutants.filter((_, i) => everything || i < ruleMutants.length || i % 8 === 0);
  const seen = plantedGradients(planted, seed, 400);
  expect(planted.filter((mutant) => !seen.has(mutant)).map(({ name }) => name)).toEqual([]);
});
