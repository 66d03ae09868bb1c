// A study as tables.
import { formatTable } from '../../../dsl/text/table.ts';
import type { Sight } from './sight.ts';
import type { Structure } from './structure.ts';
import { plural } from '../../../dsl/text/plural.ts';

/** `undefined` structure: too few models have all benchmarks. */
export function printStudy(sights: readonly Sight[], structure: Structure | undefined): string {
  return [
    printSight(sights),
    structure === undefined
      ? 'Correlations, components and clusters need at least four models with scores in the same three benchmarks.'
      : printStructure(structure),
  ].join('\n\n');
}

/** The same for programs. */
export function studyJson(sights: readonly Sight[], structure: Structure | undefined): object {
  const groups = structure?.groups;
  const means = groups?.means.map((one) => ({ ...one, means: Object.fromEntries(one.means) }));
  return {
    sights,
    structure: groups === undefined ? (structure ?? null) : { ...structure, groups: { ...groups, means } },
  };
}

const figure = (value: number | undefined): string => (value === undefined ? '–' : value.toFixed(1).replace('-', '−'));
const signed = (value: number): string => `${value < 0 ? '−' : ' '}${Math.abs(value).toFixed(2)}`;

function printSight(sights: readonly Sight[]): string {
  const right = { align: 'right' } as const;
  return formatTable(
    [
      { title: 'benchmark' },
      { title: 'models', ...right },
      { title: 'sighted', ...right },
      { title: 'from – to' },
      { title: 'blind', ...right },
      { title: 'guessing', ...right },
      { title: 'sighted − blind', ...right },
      { title: 'blind − guessing', ...right },
    ],
    sights.map(({ benchmark, sighted, blind, chance, gain, words }) => [
      benchmark,
      String(sighted.models),
      figure(sighted.mean),
      `${figure(sighted.least)} – ${figure(sighted.most)}`,
      figure(blind?.mean),
      figure(chance),
      figure(gain),
      figure(words),
    ]),
  );
}

function printStructure(structure: Structure): string {
  const { benchmarks, models, leftOut, constant, correlation, shared, own, components, clusters, groups } = structure;
  const matrix = (title: string, values: readonly (readonly number[])[]): string =>
    [
      title,
      formatTable(
        [{ title: '' }, ...benchmarks.map((_, i) => ({ title: String(i + 1), align: 'right' as const }))],
        benchmarks.map((name, i) => [`${i + 1} ${name}`, ...(values[i] ?? []).map(signed)]),
      ),
    ].join('\n');
  const lines = [
    `${plural(models.length, 'model has', 'models have')} all ${plural(benchmarks.length, 'benchmark')}${leftOut.length === 0 ? '' : `; left out: ${leftOut.join(', ')}`}${constant.length === 0 ? '' : `; benchmarks left out: ${constant.join(', ')}`}.`,
    matrix('Correlation over models:', correlation),
    `${(100 * shared).toFixed(0)} % of the variance is shared: a model that is good in one is good in all. What follows is what is left when each model's mean over the benchmarks is taken off.`,
    matrix('Correlation of what is left:', own),
    formatTable(
      [
        { title: 'benchmark' },
        ...(groups === undefined ? [] : [{ title: 'group' }, { title: 'correlates most with' }]),
        { title: 'cluster', align: 'right' },
        ...components.map(({ variance }, i) => ({
          title: `component ${i + 1} (${(100 * variance).toFixed(0)} %)`,
          align: 'right' as const,
        })),
      ],
      benchmarks.map((name, i) => [
        name,
        ...(groups === undefined ? [] : [groups.of[i] ?? '', groups.nearest[i] ?? '']),
        String(clusters[i] ?? ''),
        ...components.map(({ loadings }) => signed(loadings[i] ?? 0)),
      ]),
    ),
  ];
  if (groups !== undefined) {
    const { test, agreement, nearest, of, means } = groups;
    const names = [...new Set(of)];
    const right = nearest.filter((name, i) => name === of[i]).length;
    lines.push(
      `The groups given: mean correlation ${signed(test.within).trim()} within a group and ${signed(test.between).trim()} between groups; groups dealt by lot are as far apart with p ${test.p < 0.001 ? '< 0.001' : `= ${test.p.toFixed(3)}`}. ${right} of ${plural(of.length, 'benchmark')} correlate most with their own group. Agreement of clusters with groups (adjusted Rand index): ${agreement.toFixed(2)}.`,
      formatTable(
        [{ title: 'model' }, ...names.map((name) => ({ title: name, align: 'right' as const }))],
        means.map(({ model, means: own2 }) => [model, ...names.map((name) => figure(own2.get(name)))]),
      ),
    );
  }
  return lines.join('\n\n');
}
