// Which benchmarks go together over models: correlations, principal components, clusters, and the groups that somebody named
// (Cambrian-1, figure 3, right).
import { agnes } from 'ml-hclust';
import { PCA } from 'ml-pca';
import { adjustedRand, correlations, groupTest, standardized, type GroupTest } from '../../statistics/correlation.ts';
import type { StudyTable } from './study-table.ts';

export interface Structure {
  readonly benchmarks: readonly string[];
  readonly models: readonly string[];
  /** Models without a score in each benchmark. */
  readonly leftOut: readonly string[];
  /** Benchmarks in which all models score the same, or that too few models have. */
  readonly constant: readonly string[];
  readonly correlation: readonly (readonly number[])[];
  /** Share of the variance that the first component has: good models are good everywhere. */
  readonly shared: number;
  /** Correlations of what is left when each model's mean over the benchmarks is taken off. */
  readonly own: readonly (readonly number[])[];
  /** Of what is left. */
  readonly components: readonly Component[];
  /** Cluster of each benchmark, by average linkage over 1 − correlation of what is left. */
  readonly clusters: readonly number[];
  readonly groups?: GroupedStructure | undefined;
}

export interface Component {
  readonly variance: number;
  /** Of each benchmark. */
  readonly loadings: readonly number[];
}

export interface GroupedStructure {
  readonly of: readonly string[];
  readonly test: GroupTest;
  /** Of clusters with groups. */
  readonly agreement: number;
  /** For each benchmark the group with whose members it correlates most. */
  readonly nearest: readonly string[];
  /** Plain means of each model in each group. */
  readonly means: readonly { readonly model: string; readonly means: ReadonlyMap<string, number> }[];
}

const fewestModels = 4;
const components = 3;
/** MME's perception counts to 2,000: on the scale of the others a twentieth of it, as in the paper. */
const twentieth = /^MME(?:-P)?$/;

export interface StructureOptions {
  /** By default as many as there are groups, or four. */
  readonly clusters?: number | undefined;
}

/** Undefined where there are fewer than four models with all benchmarks, or fewer than three benchmarks. */
export function structureOf(table: StudyTable, { clusters }: StructureOptions = {}): Structure | undefined {
  const sighted = table.rows.filter(({ setting }) => setting === 'sighted');
  const measured = table.benchmarks.filter(
    (name) => sighted.filter(({ scores }) => scores.has(name)).length >= fewestModels,
  );
  const whole = sighted.filter(({ scores }) => measured.every((name) => scores.has(name)));
  const varies = (name: string): boolean => new Set(whole.map(({ scores }) => scores.get(name))).size > 1;
  const benchmarks = measured.filter(varies);
  if (whole.length < fewestModels || benchmarks.length < 3) return undefined;
  const raw = whole.map(({ scores }) => benchmarks.map((name) => scores.get(name) ?? 0));
  const z = standardized(raw);
  const rest = z.map((row) => {
    const mean = row.reduce((sum, value) => sum + value, 0) / row.length;
    return row.map((value) => value - mean);
  });
  const own = correlations(rest);
  const found = partsOf(standardized(rest));
  const named = benchmarks.map((name) => table.groups.get(name) ?? '');
  const hasGroups = named.every((name) => name !== '') && new Set(named).size > 1;
  const count = Math.min(clusters ?? (hasGroups ? new Set(named).size : 4), benchmarks.length);
  const partition = clustersOf(own, count);
  return {
    benchmarks,
    models: whole.map(({ model }) => model),
    leftOut: sighted.filter((row) => !whole.includes(row)).map(({ model }) => model),
    constant: table.benchmarks.filter((name) => !benchmarks.includes(name)),
    correlation: correlations(raw),
    shared: partsOf(z)[0]?.variance ?? 0,
    own,
    components: found.slice(0, components),
    clusters: partition,
    ...(hasGroups
      ? {
          groups: {
            of: named,
            test: groupTest(own, named),
            agreement: adjustedRand(named, partition.map(String)),
            nearest: benchmarks.map((_, i) => nearestGroup(own[i] ?? [], named, i)),
            means: whole.map(({ model, scores }) => ({ model, means: groupMeans(scores, benchmarks, named) })),
          },
        }
      : {}),
  };
}

function partsOf(rows: readonly (readonly number[])[]): readonly Component[] {
  const pca = new PCA(
    rows.map((row) => [...row]),
    { center: true, scale: false },
  );
  const loadings = pca.getLoadings().to2DArray();
  return pca.getExplainedVariance().map((variance, i) => {
    const of = loadings[i] ?? [];
    // The sign is arbitrary: the largest is made positive, so that plots of one table look alike everywhere.
    const largest = of.reduce((best, value) => (Math.abs(value) > Math.abs(best) ? value : best), 0);
    return { variance, loadings: largest < 0 ? of.map((value) => -value) : of };
  });
}

function clustersOf(correlation: readonly (readonly number[])[], count: number): readonly number[] {
  const distances = correlation.map((row) => row.map((value) => 1 - value));
  const tree = agnes(distances, { method: 'average', isDistanceMatrix: true });
  const out = new Array<number>(correlation.length).fill(0);
  const ordered = tree
    .group(count)
    .children.map((cluster) => cluster.indices().toSorted((a, b) => a - b))
    .toSorted((a, b) => (a[0] ?? 0) - (b[0] ?? 0));
  for (const [number, members] of ordered.entries()) for (const member of members) out[member] = number + 1;
  return out;
}

function nearestGroup(correlation: readonly number[], groups: readonly string[], self: number): string {
  const means = [...new Set(groups)].map((group) => {
    const others = correlation.filter((_, i) => i !== self && groups[i] === group);
    return { group, mean: others.length === 0 ? -Infinity : others.reduce((a, b) => a + b, 0) / others.length };
  });
  return means.reduce((best, one) => (one.mean > best.mean ? one : best)).group;
}

function groupMeans(
  scores: ReadonlyMap<string, number>,
  benchmarks: readonly string[],
  groups: readonly string[],
): ReadonlyMap<string, number> {
  const means = new Map<string, number>();
  for (const group of new Set(groups)) {
    const own = benchmarks.filter((_, i) => groups[i] === group);
    const sum = own.reduce((all, name) => {
      const score = scores.get(name) ?? 0;
      return all + (twentieth.test(name) && score > 100 ? score / 20 : score);
    }, 0);
    means.set(group, sum / own.length);
  }
  return means;
}
