// Plants one mistake after another into the rules of gradients, until differences see it.
import fc from 'fast-check';
import { caseArbitrary, elementsOf, type FuzzCase } from './case.ts';
import { judgeGradients, withGradients } from './gradients.ts';
import type { Mutant } from './mutants.ts';

/** Elements of a graph that is evaluated dozens of times for each mistake. */
const mostElements = 3000;

/** Random graphs that are small enough to be evaluated often, from a seed on, without end. */
export function* smallCases(seed: number): Generator<FuzzCase> {
  const arbitrary = caseArbitrary();
  for (let at = seed; ; at++) {
    const [given] = fc.sample(arbitrary, { numRuns: 1, seed: at });
    if (given !== undefined && given.kind !== 'nan' && elementsOf(given) <= mostElements) yield given;
  }
}

export interface CaughtGradient {
  /** The number of graphs after which it was seen, 1 for the first. */
  readonly caughtAfter: number;
  readonly message: string;
}

/** What saw each mistake; one that no graph shows is not among them. Only graphs that are right without it count. */
export function plantedGradients(
  mutants: readonly Mutant[],
  seed: number,
  graphs: number,
  caught: (mutant: Mutant, how: CaughtGradient) => void = () => undefined,
): ReadonlyMap<Mutant, CaughtGradient> {
  const found = new Map<Mutant, CaughtGradient>();
  let at = 0;
  for (const given of smallCases(seed)) {
    if (at++ >= graphs || found.size === mutants.length) break;
    const right = withGradients(given);
    if (right === undefined) continue;
    let isRight: boolean | undefined;
    for (const mutant of mutants) {
      if (found.has(mutant)) continue;
      const undo = mutant.install?.();
      let wrong: string | undefined;
      try {
        const made = withGradients(given);
        wrong = made && judgeGradients(made).wrong;
      } finally {
        undo?.();
      }
      if (wrong === undefined) continue;
      isRight ??= judgeGradients(right).wrong === undefined;
      if (!isRight) break;
      const how = { caughtAfter: at, message: wrong };
      found.set(mutant, how);
      caught(mutant, how);
    }
  }
  return found;
}
