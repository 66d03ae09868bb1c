// Two runs on the same questions, slice by slice: the paired bootstrap over pictures, McNemar's test, and what they show in words.
import { difference, verdict, type Counts, type Interval } from '../../statistics/intervals.ts';
import { mcNemar, type McNemar } from '../../statistics/mcnemar.ts';
import { groupBy } from '../grade.ts';
import { BenchmarkFileError } from '../errors.ts';
import type { ComparedSample, Run } from './read-samples.ts';
import { requireFields } from '../../../dsl/graph/required.ts';

export interface ComparedSlice {
  readonly benchmark: string;
  /** `all`, or key and value. */
  readonly slice: string;
  readonly count: number;
  readonly first: number;
  readonly second: number;
  /** First minus second, 95 %, over pictures drawn again with replacement. */
  readonly difference: Interval;
  readonly mcNemar: McNemar;
  /** Of the first against the second. */
  readonly verdict: string;
}

export interface RunComparison {
  readonly first: string;
  readonly second: string;
  readonly slices: readonly ComparedSlice[];
  /** Questions that only one of the two has. */
  readonly unpaired: readonly { readonly benchmark: string; readonly first: number; readonly second: number }[];
}

type Pair = readonly [first: ComparedSample, second: ComparedSample];

/**
 * Throws `BenchmarkFileError` where the two have no benchmark in common, or other questions under the same name.
 * @example compareRuns(readRun('evals/a'), readRun('evals/b')).slices[0]?.verdict
 */
export function compareRuns(first: Run, second: Run): RunComparison {
  for (const run of [first, second])
    requireFields(
      'compareRuns',
      run,
      { benchmarks: 'object' },
      "compareRuns(readRun('evals/a'), readRun('evals/b'))",
      'a run',
    );
  const shared = [...first.benchmarks.keys()].filter((name) => second.benchmarks.has(name));
  if (shared.length === 0)
    throw new BenchmarkFileError(
      `${first.name} and ${second.name} have no benchmark in common`,
      `the first has ${[...first.benchmarks.keys()].join(', ') || 'none'}, the second ${[...second.benchmarks.keys()].join(', ') || 'none'}`,
    );
  const unpaired: { readonly benchmark: string; readonly first: number; readonly second: number }[] = [];
  const slices = shared.flatMap((benchmark) => {
    const [a, b] = [first.benchmarks.get(benchmark) ?? [], second.benchmarks.get(benchmark) ?? []];
    const pairs = pairsOf(benchmark, a, b);
    if (pairs.length < a.length || pairs.length < b.length)
      unpaired.push({ benchmark, first: a.length - pairs.length, second: b.length - pairs.length });
    const keys = [...new Set(pairs.flatMap(([{ slices: own }]) => Object.keys(own)))];
    return [
      compared(benchmark, 'all', pairs),
      ...keys.flatMap((key) =>
        [...groupBy(pairs, ([{ slices: own }]) => own[key] ?? '')]
          .filter(([value]) => value !== '')
          .map(([value, own]) => compared(benchmark, `${key} ${value}`, own)),
      ),
    ];
  });
  return { first: first.name, second: second.name, slices, unpaired };
}

function pairsOf(benchmark: string, a: readonly ComparedSample[], b: readonly ComparedSample[]): readonly Pair[] {
  const byId = new Map(b.map((sample) => [sample.id, sample]));
  const pairs = a.flatMap((one): readonly Pair[] => {
    const other = byId.get(one.id);
    if (other === undefined) return [];
    if (one.hash !== other.hash)
      throw new BenchmarkFileError(
        `question ${one.id} of ${benchmark} is another one in the second run`,
        'compare runs on the same files with the same prompts',
      );
    return [[one, other]];
  });
  if (pairs.length === 0)
    throw new BenchmarkFileError(`the runs share no question of ${benchmark}`, 'compare runs on the same files');
  return pairs;
}

function compared(benchmark: string, slice: string, pairs: readonly Pair[]): ComparedSlice {
  const clusters = [...groupBy(pairs, ([{ cluster }]) => cluster).values()];
  const counts = (which: 0 | 1): Counts => ({
    right: clusters.map((own) => own.reduce((sum, pair) => sum + pair[which].score, 0)),
    asked: clusters.map((own) => own.length),
  });
  const interval = difference([counts(0)], [counts(1)]);
  const isRight = ({ score }: ComparedSample): boolean => score >= 0.5;
  const only = (which: 0 | 1): number =>
    pairs.filter((pair) => isRight(pair[which]) && !isRight(pair[1 - which] ?? pair[which])).length;
  const mean = (which: 0 | 1): number => pairs.reduce((sum, pair) => sum + pair[which].score, 0) / pairs.length;
  return {
    benchmark,
    slice,
    count: pairs.length,
    first: mean(0),
    second: mean(1),
    difference: interval,
    mcNemar: mcNemar(only(0), only(1)),
    verdict: verdict(interval),
  };
}
