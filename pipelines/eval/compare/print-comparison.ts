// Two runs against each other, as a table.
import { formatTable } from '../../../dsl/text/table.ts';
import { percent } from '../report/print-results.ts';
import type { RunComparison } from './compare-runs.ts';
import { plural } from '../../../dsl/text/plural.ts';

/** Everything as text. */
export function printRunComparison({ first, second, slices, unpaired }: RunComparison): string {
  return [
    `${first} against ${second}`,
    formatTable(
      [
        { title: 'benchmark' },
        { title: 'slice' },
        { title: 'questions', align: 'right' },
        { title: 'first', align: 'right' },
        { title: 'second', align: 'right' },
        { title: 'only first', align: 'right' },
        { title: 'only second', align: 'right' },
        { title: 'McNemar p', align: 'right' },
        { title: 'the first is' },
      ],
      slices.map((slice) => [
        slice.benchmark,
        slice.slice,
        String(slice.count),
        percent(slice.first),
        percent(slice.second),
        String(slice.mcNemar.first),
        String(slice.mcNemar.second),
        slice.mcNemar.p < 0.001 ? slice.mcNemar.p.toExponential(1) : slice.mcNemar.p.toFixed(3),
        slice.verdict,
      ]),
    ),
    ...unpaired.map(
      (some) =>
        `${some.benchmark}: ${plural(some.first, 'question')} only the first was asked and ${some.second} only the second, left out`,
    ),
    'Intervals are 95 %, of pictures drawn again with replacement (1,000 times, seeded). Of twenty slices without a difference one will look like one.',
  ].join('\n\n');
}
