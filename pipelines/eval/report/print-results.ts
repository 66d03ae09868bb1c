// What a run found, as tables for people.
import { formatTable } from '../../../dsl/text/table.ts';
import type { BenchmarkResult, EvaluationResult, Figure } from './results.ts';
import { plural } from '../../../dsl/text/plural.ts';

/** Failures that are printed; results.json has all. */
const mostFailures = 10;
const mostSlices = 40;

/** Everything as text. */
export function printResults({ model, benchmarks }: EvaluationResult): string {
  return [`${model.name}`, ...benchmarks.map(printBenchmark)].join('\n\n');
}

function printBenchmark(result: BenchmarkResult): string {
  const { title, count, slices, form, inForm, failures, figures } = result;
  const hasBlind = result.blind !== undefined;
  const blindOf = (name: string): string => {
    const found = result.blind?.figures.find((figure) => figure.name === name);
    return found === undefined ? '–' : value(found, found.value);
  };
  const lines = [
    `${title}: ${plural(count, 'question')}; ${percent(1 - inForm)} of the answers are not in the form asked (${form})`,
    figures.length === 0
      ? 'there are no gold answers here: a submission file is written'
      : formatTable(
          [
            { title: 'score' },
            { title: 'value', align: 'right' },
            { title: '95 % interval' },
            { title: 'guessing', align: 'right' },
            ...(hasBlind ? [{ title: `blind (${result.blind?.how ?? ''})`, align: 'right' as const }] : []),
          ],
          figures.map((figure) => [
            figure.name,
            value(figure, figure.value),
            figure.low === undefined || figure.high === undefined ? '' : interval(figure.low, figure.high),
            figure.chance === undefined ? '–' : value(figure, figure.chance),
            ...(hasBlind ? [blindOf(figure.name)] : []),
          ]),
        ),
  ];
  if (slices.length > 0)
    lines.push(
      formatTable(
        [
          { title: 'slice' },
          { title: 'questions', align: 'right' },
          { title: 'accuracy', align: 'right' },
          { title: '95 % interval' },
          { title: 'guessing', align: 'right' },
          ...(hasBlind ? [{ title: 'blind', align: 'right' as const }] : []),
          { title: 'other form', align: 'right' },
        ],
        slices
          .slice(0, mostSlices)
          .map((slice) => [
            `${slice.key} ${slice.value}`,
            String(slice.count),
            percent(slice.accuracy),
            interval(slice.low, slice.high),
            percent(slice.chance),
            ...(hasBlind ? [slice.blind === undefined ? '–' : percent(slice.blind)] : []),
            percent(1 - slice.inForm),
          ]),
      ),
    );
  if (slices.length > mostSlices) lines.push(`… and ${slices.length - mostSlices} slices more in results.json`);
  if (failures.length > 0)
    lines.push(
      [
        `${failures.length} could not be asked and ${failures.length === 1 ? 'counts' : 'count'} as wrong:`,
        ...failures.slice(0, mostFailures).map(({ question, why }) => `  ${question}: ${why}`),
        ...(failures.length > mostFailures ? [`  … and ${failures.length - mostFailures} more in results.json`] : []),
      ].join('\n'),
    );
  return lines.join('\n\n');
}

function value({ unit }: Figure, of: number): string {
  return unit === 'share' ? percent(of) : of.toFixed(1);
}

export function percent(share: number): string {
  return Number.isFinite(share) ? `${(100 * share).toFixed(1)} %` : '–';
}

function interval(low: number, high: number): string {
  return `${(100 * low).toFixed(1)} – ${(100 * high).toFixed(1)}`;
}
