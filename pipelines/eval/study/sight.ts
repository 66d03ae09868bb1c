// What the picture is worth: each benchmark sighted, blind and by guessing, over models (Cambrian-1, figure 3, left).
import type { Setting, StudyTable } from './study-table.ts';

/** Over the models of one setting. */
export interface Spread {
  readonly mean: number;
  readonly least: number;
  readonly most: number;
  readonly models: number;
}

export interface Sight {
  readonly benchmark: string;
  readonly sighted: Spread;
  readonly blind?: Spread | undefined;
  readonly chance?: number | undefined;
  /** Sighted minus blind, of the models that have both, or of the means where none has. */
  readonly gain?: number | undefined;
  /** Blind minus guessing: what words alone give. */
  readonly words?: number | undefined;
}

/** By what the picture adds, the least first; benchmarks without blind scores come last. */
export function sightOf({ benchmarks, rows }: StudyTable): readonly Sight[] {
  const found = benchmarks.flatMap((benchmark): readonly Sight[] => {
    const scoresOf = (setting: Setting): ReadonlyMap<string, number> =>
      new Map(
        rows.flatMap((row) => {
          const score = row.setting === setting ? row.scores.get(benchmark) : undefined;
          return score === undefined ? [] : [[row.model, score] as const];
        }),
      );
    const [sighted, blind] = [scoresOf('sighted'), scoresOf('blind')];
    // Of several the first: guessing is the same for all models.
    const chance = rows.find((row) => row.setting === 'chance' && row.scores.has(benchmark))?.scores.get(benchmark);
    if (sighted.size === 0) return [];
    const both = [...sighted].filter(([model]) => blind.has(model));
    const gains = both.map(([model, score]) => score - (blind.get(model) ?? 0));
    const without = spreadOf([...blind.values()]);
    const spread = spreadOf([...sighted.values()]);
    if (spread === undefined) return [];
    const gain = without === undefined ? undefined : gains.length > 0 ? mean(gains) : spread.mean - without.mean;
    return [
      {
        benchmark,
        sighted: spread,
        blind: without,
        chance,
        gain,
        words: without === undefined || chance === undefined ? undefined : without.mean - chance,
      },
    ];
  });
  return found.toSorted((a, b) => (a.gain ?? Infinity) - (b.gain ?? Infinity));
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

function spreadOf(values: readonly number[]): Spread | undefined {
  if (values.length === 0) return undefined;
  return { mean: mean(values), least: Math.min(...values), most: Math.max(...values), models: values.length };
}
