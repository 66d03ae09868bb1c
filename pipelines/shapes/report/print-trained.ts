// A comparison by training as text, CSV and JSON.
import { formatCount, formatTable } from '../../../dsl/text/table.ts';
import type { TrainedComparison } from '../train/compare-trained.ts';
import type { Interval } from '../../statistics/intervals.ts';
import { columns, summaryOf, type SummaryRow } from './summary.ts';
import { plural } from '../../../dsl/text/plural.ts';

const short = ({ mean, low, high }: Interval): string => {
  if (!Number.isFinite(mean)) return '–';
  return `${mean.toFixed(3)} ±${((high - low) / 2).toFixed(3)}`;
};

/** A table of accuracies, one of costs, what it shows, and what could not be trained. */
export function printTrained(comparison: TrainedComparison): string {
  const rows = summaryOf(comparison);
  const { preset, tokens } = comparison.options;
  const parts = [
    `preset ${preset}, about ${tokens} visual tokens, ${plural(comparison.task.train.scenes.length, 'picture')} to learn from, ${comparison.task.held.scenes.length} held out; accuracy with half of its 95 % interval`,
    '',
    formatTable(
      [
        { title: 'variant' },
        { title: 'seeds', align: 'right' },
        ...columns.map((title) => ({ title, align: 'right' as const })),
        { title: 'shuffled', align: 'right' },
      ],
      rows.map((row) => [
        row.name,
        String(row.seeds),
        ...columns.map((column) => short(row.accuracy[column])),
        row.shuffled.toFixed(3),
      ]),
    ),
    '',
    formatTable(
      [
        { title: 'variant' },
        { title: 'tokens', align: 'right' },
        { title: 'parameters', align: 'right' },
        { title: 'FLOP a picture', align: 'right' },
        { title: 'steps', align: 'right' },
        { title: 'seconds', align: 'right' },
        { title: 'what moves the answers: coarse encoder / fine encoder' },
      ],
      rows.map((row) => [
        row.name,
        String(row.tokens),
        formatCount(row.parameters),
        formatCount(row.flops),
        [...new Set(row.steps)].join('–'),
        row.seconds.toFixed(0),
        sharesText(row),
      ]),
    ),
    '',
    ...rows.flatMap((row) => row.verdicts),
    ...comparison.failed.map(({ name, reason }) => `${name} was not trained: ${reason}`),
  ];
  if (rows.some((row) => row.seeds === 1))
    parts.push('One seed: the intervals are over pictures alone, and another seed may differ by more.');
  if (!comparison.complete) parts.push('Interrupted: the same command goes on.');
  return parts.join('\n');
}

function sharesText({ shares }: SummaryRow): string {
  return Object.entries(shares)
    .map(([slice, own]) => `${slice} ${own.map((share) => Math.round(100 * share)).join('/')}`)
    .join(', ');
}

export function trainedCsv(comparison: TrainedComparison): string {
  const head = [
    'variant',
    'control',
    'seeds',
    'tokens',
    'parameters',
    'flops',
    'steps',
    'seconds',
    'shuffled',
    ...columns.flatMap((column) => [column, `${column}_low`, `${column}_high`]),
  ];
  const lines = summaryOf(comparison).map((row) => [
    quoted(row.name),
    row.control,
    row.seeds,
    row.tokens,
    row.parameters,
    Math.round(row.flops),
    quoted(row.steps.join(' ')),
    row.seconds.toFixed(1),
    row.shuffled.toFixed(4),
    ...columns.flatMap((column) => {
      const { mean, low, high } = row.accuracy[column];
      return [mean, low, high].map((value) => (Number.isFinite(value) ? value.toFixed(4) : ''));
    }),
  ]);
  return [head, ...lines].map((line) => line.join(',')).join('\n');
}

function quoted(text: string): string {
  return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

export function trainedJson(comparison: TrainedComparison): unknown {
  const { options, failed, complete, results } = comparison;
  return {
    task: 'shapes',
    preset: options.preset,
    tokens: options.tokens,
    complete,
    variants: summaryOf(comparison).map((row, i) => ({
      ...row,
      config: results[i]?.variant.config,
      curves: results[i]?.runs.map(({ seed, curve }) => ({ seed, curve })),
    })),
    failed,
  };
}
