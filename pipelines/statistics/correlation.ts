// How alike columns are, and whether groups of them are more alike than chance makes them.
import { randomStream, shuffled } from '../shapes/scene/random.ts';

/** Columns with mean 0 and standard deviation 1. Rows are cases; a column that never changes becomes 0. */
export function standardized(rows: readonly (readonly number[])[]): readonly (readonly number[])[] {
  const columns = rows[0]?.length ?? 0;
  const moments = Array.from({ length: columns }, (_, c) => {
    const mean = rows.reduce((sum, row) => sum + (row[c] ?? 0), 0) / rows.length;
    const variance = rows.reduce((sum, row) => sum + ((row[c] ?? 0) - mean) ** 2, 0) / rows.length;
    return { mean, deviation: Math.sqrt(variance) };
  });
  return rows.map((row) =>
    moments.map(({ mean, deviation }, c) => (deviation === 0 ? 0 : ((row[c] ?? 0) - mean) / deviation)),
  );
}

/** Pearson's correlation of every two columns. */
export function correlations(rows: readonly (readonly number[])[]): readonly (readonly number[])[] {
  const z = standardized(rows);
  const columns = z[0]?.length ?? 0;
  return Array.from({ length: columns }, (_, a) =>
    Array.from({ length: columns }, (__, b) =>
      a === b ? 1 : z.reduce((sum, row) => sum + (row[a] ?? 0) * (row[b] ?? 0), 0) / z.length,
    ),
  );
}

export interface GroupTest {
  /** Mean correlation of two columns of one group. */
  readonly within: number;
  /** Of two columns of different groups. */
  readonly between: number;
  /** How often groups of the same sizes drawn by lot are as far apart. */
  readonly p: number;
}

const draws = 10_000;

/** Whether columns of one group go together: the difference of mean correlations against groups that are dealt anew. */
export function groupTest(correlation: readonly (readonly number[])[], groups: readonly string[]): GroupTest {
  const means = (names: readonly string[]): readonly [within: number, between: number] => {
    const sums = [0, 0, 0, 0];
    for (let a = 0; a < names.length; a++)
      for (let b = 0; b < a; b++) {
        const at = names[a] === names[b] ? 0 : 2;
        sums[at] = (sums[at] ?? 0) + (correlation[a]?.[b] ?? 0);
        sums[at + 1] = (sums[at + 1] ?? 0) + 1;
      }
    return [(sums[0] ?? 0) / (sums[1] ?? 1), (sums[2] ?? 0) / (sums[3] ?? 1)];
  };
  const [within, between] = means(groups);
  const random = randomStream('groups', groups.length);
  let asFar = 0;
  for (let i = 0; i < draws; i++) {
    const [w, b] = means(shuffled(random, groups));
    if (w - b >= within - between) asFar++;
  }
  return { within, between, p: (asFar + 1) / (draws + 1) };
}

/** Agreement of two partitions: 1 where they are the same, about 0 where they have nothing to do with each other (Hubert and Arabie 1985). */
export function adjustedRand(a: readonly string[], b: readonly string[]): number {
  const pairs = (names: readonly string[]): number => {
    const counts = new Map<string, number>();
    for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
    return [...counts.values()].reduce((sum, count) => sum + (count * (count - 1)) / 2, 0);
  };
  const all = (a.length * (a.length - 1)) / 2;
  const both = pairs(a.map((name, i) => `${name}\0${b[i] ?? ''}`));
  const expected = (pairs(a) * pairs(b)) / all;
  const most = (pairs(a) + pairs(b)) / 2;
  return most === expected ? 1 : (both - expected) / (most - expected);
}
