// Answers that are texts: how many characters they are apart.
import { editDistance } from '../../../dsl/text/edit-distance.ts';
import { strip } from './python-text.ts';

/** Edits between two texts, in code points. */
export function charactersApart(one: string, other: string): number {
  return editDistance([...one], [...other]);
}

/** Average normalized Levenshtein similarity of one answer (ANLS): the best over the gold answers, 0 below one half. */
export function anls(answer: string, golds: readonly string[]): number {
  const own = strip(answer.toLowerCase());
  const scores = golds.map((gold) => {
    const other = strip(gold.toLowerCase());
    const longest = Math.max([...own].length, [...other].length);
    const alike = longest === 0 ? 1 : 1 - charactersApart(own, other) / longest;
    return alike >= 0.5 ? alike : 0;
  });
  return Math.max(0, ...scores);
}
