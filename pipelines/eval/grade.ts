// Counting that many adapters share: a parsed answer that is right or not, means, slices.
import type { Answered, Grade, Score } from './benchmark.ts';

/** All or nothing. */
export function graded(parsed: string | undefined, isRight: boolean): Grade {
  return { score: isRight ? 1 : 0, parsed: parsed ?? '' };
}

/** The mean of the scores; what could not be asked counts as 0. */
export function meanScore(answers: readonly Answered[]): number {
  return answers.reduce((sum, { grade }) => sum + (grade?.score ?? 0), 0) / answers.length;
}

/** Mean chance of the items. */
export function meanChance(answers: readonly Answered[]): number {
  return answers.reduce((sum, { item }) => sum + item.chance, 0) / answers.length;
}

/** The mean as a named share. */
export function accuracyScore(answers: readonly Answered[], name = 'accuracy'): Score {
  return { name, value: meanScore(answers), unit: 'share', of: answers.length, chance: meanChance(answers) };
}

/** Answers by what `key` says of each, in the order of their first. */
export function groupBy<T>(list: readonly T[], key: (one: T) => string): ReadonlyMap<string, readonly T[]> {
  const groups = new Map<string, T[]>();
  for (const one of list) {
    const name = key(one);
    const group = groups.get(name);
    if (group === undefined) groups.set(name, [one]);
    else group.push(one);
  }
  return groups;
}

/** Options as lines "A. first". */
export function optionLines(options: readonly string[]): string {
  return options.map((option, i) => `\n${String.fromCharCode(65 + i)}. ${option}`).join('');
}
