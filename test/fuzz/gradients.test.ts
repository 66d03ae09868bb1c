// Gradients of random graphs agree with central differences, and planted mistakes in gradient rules do not.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { caseArbitrary, elementsOf, type FuzzCase } from './case.ts';
import { judgeGradients, withGradients } from './gradients.ts';
import { gradientMutants } from './mutants-gradient.ts';
import { everything } from '../support/share.ts';

const arbitrary = caseArbitrary();

/** Random graphs that are small enough to be evaluated often. */
function* cases(): Generator<FuzzCase> {
  for (let seed = 100_003; ; seed++) {
    const [given] = fc.sample(arbitrary, { numRuns: 1, seed });
    if (given !== undefined && given.kind !== 'nan' && elementsOf(given) <= 3000) yield given;
  }
}

test('gradients of random graphs are what differences say', { timeout: 300_000 }, () => {
  let [graphs, compared] = [0, 0];
  for (const given of cases()) {
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
  const waiting = new Set(everything ? gradientMutants : gradientMutants.filter((_, i) => i % 4 === 0));
  let graphs = 0;
  for (const given of cases()) {
    for (const mutant of waiting) {
      const undo = mutant.install?.();
      try {
        const made = withGradients(given);
        if (made !== undefined && judgeGradients(made).wrong !== undefined) waiting.delete(mutant);
      } finally {
        undo?.();
      }
    }
    if (waiting.size === 0 || ++graphs >= 400) break;
  }
  expect([...waiting].map(({ name }) => name)).toEqual([]);
});
