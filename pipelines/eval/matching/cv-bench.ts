// CV-Bench is three scores under one name. How each reads a letter, and what each takes the mean of.
import { strip, words } from './python-text.ts';
import { letterAt } from './letters.ts';

/**
 * The letter that lmms-eval reads (`_extract_answer_letter`): the first letter of the answer behind parentheses and spaces, whatever
 * word it begins. "The answer is (B)" is T.
 */
export function lmmsEvalLetter(answer: string): string {
  // To Python's IGNORECASE four more are letters from A to Z: dotted and dotless i, long s, the Kelvin sign.
  const found = /^[(\s]*([a-zA-Z\u0130\u0131\u017f\u212a])/.exec(strip(answer))?.[1] ?? '';
  return found.toUpperCase();
}

const refusals = [
  "Sorry, I can't help with images of people yet.",
  "I can't process this file.",
  "I'm sorry, but without the image provided",
  'Cannot determine the answer',
];

/**
 * The letter that VLMEvalKit reads without a judge (`can_infer` under exact_matching); Z where the answer refuses or nothing is found.
 * `options` in the order of their letters.
 */
export function vlmEvalKitLetter(answer: string, options: readonly string[]): string {
  return (
    byLetter(
      answer,
      options.map((_, place) => letterAt(place)),
    ) ??
    byText(answer, options) ??
    'Z'
  );
}

function byLetter(answer: string, letters: readonly string[]): string | undefined {
  if (answer.includes('Failed to obtain answer via API')) return undefined;
  if (refusals.some((refusal) => answer.includes(refusal))) return 'Z';
  const split = words(answer.replace(/[.()[\],:;!*#{}]/g, ' '));
  const named = letters.filter((letter) => split.includes(letter));
  const [only] = named;
  // Only near the end, within the last four words.
  if (named.length === 1 && only !== undefined && split.indexOf(only) > split.length - 5) return only;
  if (named.length === 0 && split.includes('Z')) return 'Z';
  const spoken = /(?:correct\s+)?answer\s+is\s+\**([ABCD])\**/i.exec(answer)?.[1]?.toUpperCase();
  return spoken !== undefined && letters.includes(spoken) ? spoken : undefined;
}

function byText(answer: string, options: readonly string[]): string | undefined {
  const text = answer.toLowerCase();
  const length = (value: string): number => [...value].length;
  if (length(text) > 2 * options.reduce((sum, option) => sum + length(option), 0)) return undefined;
  const found = options.flatMap((option, place) => (text.includes(option.toLowerCase()) ? [letterAt(place)] : []));
  return found.length === 1 ? found[0] : undefined;
}

/** Accuracies by source, as in the paper: 2D = (ADE20K + COCO) / 2, 3D = Omni3D, overall = (2D + 3D) / 2. */
export function combineSources(
  ade: number,
  coco: number,
  omni: number,
): { readonly twoD: number; readonly threeD: number; readonly overall: number } {
  const twoD = (ade + coco) / 2;
  return { twoD, threeD: omni, overall: (twoD + omni) / 2 };
}
