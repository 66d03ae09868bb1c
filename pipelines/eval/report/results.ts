// What a run found, as plain JSON: every benchmark's figures and slices, sighted, blind, by guessing.
import { wilson } from '../../statistics/wilson.ts';
import type { Answered, Benchmark, Group, Score } from '../benchmark.ts';
import { accuracyScore, groupBy, meanChance, meanScore } from '../grade.ts';
import type { How } from '../ask/ask-questions.ts';
import { isInForm, type Form } from '../matching/form.ts';

/** A figure with its 95 % interval, where it is a share. */
export interface Figure extends Score {
  readonly low?: number | undefined;
  readonly high?: number | undefined;
}

export interface SliceResult {
  readonly key: string;
  readonly value: string;
  readonly count: number;
  readonly accuracy: number;
  /** Wilson's 95 % interval. */
  readonly low: number;
  readonly high: number;
  readonly chance: number;
  readonly blind?: number | undefined;
  /** Share of answers in the form that was asked for. */
  readonly inForm: number;
}

export interface Failure {
  readonly question: string;
  readonly why: string;
}

export interface BenchmarkResult {
  readonly name: string;
  readonly title: string;
  readonly group?: Group | undefined;
  readonly paths: readonly string[];
  readonly count: number;
  /** The first is the one that is reported. Empty where only a submission is made. */
  readonly figures: readonly Figure[];
  readonly blind?: { readonly how: How; readonly figures: readonly Figure[] } | undefined;
  readonly slices: readonly SliceResult[];
  readonly form: Form;
  readonly inForm: number;
  /** Questions that could not be asked, counted as wrong. */
  readonly failures: readonly Failure[];
}

export interface EvaluationResult {
  readonly version: 1;
  readonly model: { readonly name: string; readonly identity: Readonly<Record<string, string>> };
  readonly settings: Readonly<Record<string, string | number>>;
  readonly benchmarks: readonly BenchmarkResult[];
}

/** Answers with what the journal says beside them. */
export interface Judged extends Answered {
  readonly key: string;
  readonly failure: string;
}

/** Figures of one benchmark. `blind`: the same questions without their pictures. */
export function resultOf(
  benchmark: Benchmark,
  paths: readonly string[],
  sighted: readonly Judged[],
  blind?: { readonly how: How; readonly answers: readonly Judged[] },
): BenchmarkResult {
  const inForm = (answers: readonly Judged[]): number =>
    answers.filter(({ answer, item }) => isInForm(answer, benchmark.form, item.options)).length / answers.length;
  const judgedOf = (answers: readonly Judged[]): readonly Judged[] => countedOf(benchmark, answers);
  const keys = [...new Set(sighted.flatMap(({ item }) => Object.keys(item.slices)))];
  const slices = keys.flatMap((key) => {
    const blindBy = groupBy(judgedOf(blind?.answers ?? []), ({ item }) => item.slices[key] ?? '');
    return [...groupBy(judgedOf(sighted), ({ item }) => item.slices[key] ?? '')]
      .filter(([value]) => value !== '')
      .map(([value, own]): SliceResult => {
        const without = blindBy.get(value);
        return {
          key,
          value,
          count: own.length,
          accuracy: meanScore(own),
          ...wilson(meanScore(own) * own.length, own.length),
          chance: meanChance(own),
          ...(without === undefined ? {} : { blind: meanScore(without) }),
          inForm: inForm(own),
        };
      });
  });
  return {
    name: benchmark.name,
    title: benchmark.title,
    group: benchmark.group,
    paths,
    count: sighted.length,
    figures: figuresOf(benchmark, sighted),
    ...(blind === undefined ? {} : { blind: { how: blind.how, figures: figuresOf(benchmark, blind.answers) } }),
    slices,
    form: benchmark.form,
    inForm: inForm(sighted),
    failures: sighted
      .filter(({ failure }) => failure !== '')
      .map(({ key, failure }) => ({ question: key, why: failure })),
  };
}

/** What is counted: answers that have a grade, and those that could not be asked and would have had one. */
function countedOf({ grade }: Benchmark, answers: readonly Judged[]): readonly Judged[] {
  return answers.filter(({ grade: own, item }) => own !== undefined || grade?.('', item.gold) !== undefined);
}

function figuresOf(benchmark: Benchmark, answers: readonly Judged[]): readonly Figure[] {
  const judged = countedOf(benchmark, answers);
  if (!judged.some(({ grade }) => grade !== undefined)) return [];
  const scores = benchmark.scores?.(judged) ?? [accuracyScore(judged)];
  return scores.map((score) =>
    score.unit === 'share' && score.of !== undefined
      ? { ...score, ...wilson(score.value * score.of, score.of) }
      : score,
  );
}
