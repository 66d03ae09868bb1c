// A comparison by training as figures: by variant and slice, with intervals, beside the controls.
import { slices, type Slice } from '../scene/questions.ts';
import { questionsPerPicture } from '../train/presets.ts';
import type { TrainedComparison, VariantResult } from '../train/compare-trained.ts';
import { accuracy, difference, verdict, type Counts, type Interval } from '../../statistics/intervals.ts';
import type { Task } from '../train/task.ts';

export type Column = Slice | 'all';
export const columns: readonly Column[] = ['all', ...slices];

export interface SummaryRow {
  readonly name: string;
  readonly control: boolean;
  readonly seeds: number;
  readonly tokens: number;
  readonly parameters: number;
  /** Of one picture, forward; a multiply-add counts two. */
  readonly flops: number;
  /** Mean over the seeds. */
  readonly seconds: number;
  readonly steps: readonly number[];
  readonly accuracy: Readonly<Record<Column, Interval>>;
  /** Share of right answers with other pictures' maps. */
  readonly shuffled: number;
  /** By slice the share of each encoder; mean over the seeds. */
  readonly shares: Readonly<Record<string, readonly number[]>>;
  /** Against a control, where both were judged with the same seeds. */
  readonly against: Readonly<Record<string, Readonly<Record<Column, Interval>>>>;
  /** What the row shows, in words. */
  readonly verdicts: readonly string[];
}

/** Controls that every row is set against. */
const references = ['resampler', 'average-pooling', 'blind'] as const;

/** Every form of a report asks for it. */
const known = new WeakMap<TrainedComparison, readonly SummaryRow[]>();

export function summaryOf(comparison: TrainedComparison): readonly SummaryRow[] {
  const { results, task } = comparison;
  const rows = known.get(comparison) ?? results.map((result) => rowOf(result, results, task));
  known.set(comparison, rows);
  return rows;
}

function rowOf(result: VariantResult, results: readonly VariantResult[], task: Task): SummaryRow {
  const { variant, runs, parameters } = result;
  const against: Record<string, Readonly<Record<Column, Interval>>> = {};
  for (const name of references) {
    const other = results.find((one) => one.variant.name === name);
    if (other === undefined || other === result) continue;
    const shared = runs.filter(({ seed }) => other.runs.some((run) => run.seed === seed));
    const theirs = shared.flatMap(({ seed }) => other.runs.filter((run) => run.seed === seed));
    if (shared.length === 0) continue;
    against[name] = record((column) =>
      difference(
        shared.map((run) => countsOf(run.judged.right, task, column)),
        theirs.map((run) => countsOf(run.judged.right, task, column)),
      ),
    );
  }
  const shuffled = runs.flatMap((run) => run.judged.shuffled);
  const asked = runs.flatMap((run) => run.judged.answers).filter((answer) => answer >= 0).length;
  return {
    name: variant.name,
    control: variant.control,
    seeds: runs.length,
    tokens: variant.tokens,
    parameters,
    flops: runs[0]?.judged.flops ?? NaN,
    seconds: mean(runs.map(({ seconds }) => seconds)),
    steps: runs.map(({ steps }) => steps),
    accuracy: record((column) => accuracy(runs.map((run) => countsOf(run.judged.right, task, column)))),
    shuffled: shuffled.reduce<number>((sum, one) => sum + one, 0) / Math.max(1, asked),
    shares: Object.fromEntries(
      slices.flatMap((slice) => {
        const own = runs.map((run) => run.judged.shares[slice] ?? []);
        const encoders = own[0]?.length ?? 0;
        if (encoders === 0) return [];
        return [[slice, Array.from({ length: encoders }, (_, k) => mean(own.map((one) => one[k] ?? 0)))]];
      }),
    ),
    against,
    verdicts: variant.control ? [] : verdictsOf(variant.name, against),
  };
}

function verdictsOf(name: string, against: SummaryRow['against']): readonly string[] {
  const told: string[] = [];
  const blind = against['blind']?.all;
  if (blind !== undefined && blind.low <= 0)
    told.push(`${name} does not pass the blind baseline: this budget is too small to say anything about it`);
  for (const reference of ['resampler', 'average-pooling']) {
    const own = against[reference];
    if (own === undefined) continue;
    const same = columns.filter((column) => own[column].low <= 0 && own[column].high >= 0);
    for (const column of columns.filter((one) => !same.includes(one)))
      told.push(`${name} against ${reference}, ${column}: ${verdict(own[column])}`);
    if (same.length > 0) told.push(`${name} against ${reference}, ${same.join(', ')}: no difference shown`);
  }
  return told;
}

/** Right answers and questions of a column, picture by picture. */
export function countsOf(right: readonly number[], { held }: Pick<Task, 'held'>, column: Column): Counts {
  const counts = { right: [] as number[], asked: [] as number[] };
  held.questions.forEach((questions, picture) => {
    let [good, asked] = [0, 0];
    questions.forEach(({ slice }, q) => {
      if (column !== 'all' && slice !== column) return;
      asked++;
      good += right[picture * questionsPerPicture + q] ?? 0;
    });
    counts.right.push(good);
    counts.asked.push(asked);
  });
  return counts;
}

function record(of: (column: Column) => Interval): Readonly<Record<Column, Interval>> {
  return {
    all: of('all'),
    where: of('where'),
    color: of('color'),
    side: of('side'),
    count: of('count'),
    nearer: of('nearer'),
    sign: of('sign'),
  };
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}
