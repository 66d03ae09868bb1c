// All cases, in the order of the table.
import { nearestNames, OpabiniaError } from '../../dsl/error.ts';
import type { AnyCase, BenchCase } from '../case.ts';
import { attentionCases } from './attention.ts';
import { blockCases } from './block.ts';
import { contractionCases } from './contraction.ts';
import { convolutionCases } from './convolution.ts';
import { generationCases } from './generation.ts';
import { quantizedCases } from './quantized.ts';
import { rowCases } from './rows.ts';
import { svaCases } from './sva.ts';
import { towerCases } from './tower.ts';
import { trainingCases } from './training.ts';

export const cases: readonly AnyCase[] = [
  ...contractionCases,
  ...quantizedCases,
  ...attentionCases,
  ...rowCases,
  ...convolutionCases,
  ...blockCases,
  ...towerCases,
  ...svaCases,
  ...trainingCases,
  ...generationCases,
];

/** The cases of these names, or that have such a word at their beginning; all without names. Throws `OpabiniaError` for a name that selects nothing. */
export function selectCases(names: readonly string[]): readonly AnyCase[] {
  if (names.length === 0) return cases;
  const chosen = new Set(
    names.flatMap((name) => {
      const exact = cases.filter((one) => one.name === name);
      const found = exact.length > 0 ? exact : cases.filter((one) => one.name.startsWith(`${name}-`));
      if (found.length === 0)
        throw new OpabiniaError(`there is no case '${name}'; there are ${cases.map((one) => one.name).join(', ')}`, {
          op: 'bench',
          advice: `nearest: ${nearestNames(
            name,
            cases.map((one) => one.name),
          )
            .slice(0, 3)
            .join(', ')}`,
        });
      return found;
    }),
  );
  return cases.filter((one) => chosen.has(one));
}

/** A case that can run. Throws `OpabiniaError`. */
export function runnableCase(name: string): BenchCase {
  const found = selectCases([name])[0];
  if (found === undefined || !('build' in found))
    throw new OpabiniaError(`the case '${name}' cannot run`, { op: 'bench', advice: 'npm run bench -- --list' });
  return found;
}
