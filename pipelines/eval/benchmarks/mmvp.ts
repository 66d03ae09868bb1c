// MMVP (Tong et al. 2024): pairs of pictures that CLIP takes for one; only pairs that are both right count. Questions.csv and the folder
// "MMVP Images".
import { responseFormats } from '../../train/data/response-formats.ts';
import type { Benchmark } from '../benchmark.ts';
import { graded } from '../grade.ts';
import { goldLetter, optionOf } from '../matching/letters.ts';
import { strip } from '../matching/python-text.ts';
import { rightInPairs } from './mme.ts';
import { neededText, picturesOf, textOf } from '../read/row.ts';

export const mmvp: Benchmark = {
  name: 'mmvp',
  title: 'MMVP',
  source: 'MMVP/MMVP, Questions.csv and MMVP Images',
  files: ['Questions'],
  columns: [['Question'], ['Options'], ['Correct Answer'], ['Index', 'lndex', 'image']],
  group: 'Vision-Centric',
  form: 'letter',
  maxNewTokens: 512,
  item: (row) => {
    const options = neededText(row, 'Options');
    const parts = options
      .split('(b)')
      .map((part) => strip(part).replaceAll('(a)', 'A.'))
      .map((part, i) => (i === 1 ? `B. ${part}` : part));
    const number = textOf(row, 'Index', 'lndex');
    const own = picturesOf(row, 'image');
    return {
      prompt: `${neededText(row, 'Question')} Options:${parts.map((part) => `\n${part}`).join('')}\n${responseFormats.option}`,
      pictures: own.length > 0 ? own : [row.picture(`MMVP Images/${number}.jpg`)],
      gold: { answer: neededText(row, 'Correct Answer'), options: textsOf(options) },
      slices: {},
      chance: 0.5,
      options: 2,
      id: number,
    };
  },
  grade: (answer, { answer: gold, options }) => {
    const parsed = optionOf(answer, '.:,');
    const letter = goldLetter(String(gold));
    const text = Array.isArray(options) ? (options[letter.charCodeAt(0) - 97] as string | undefined) : undefined;
    return graded(parsed, parsed === letter || parsed === text?.toLowerCase());
  },
  scores: (answers) => {
    const both = rightInPairs(answers);
    return [
      { name: 'pairs', value: both / answers.length, unit: 'share', of: Math.ceil(answers.length / 2), chance: 0.25 },
      {
        name: 'single questions',
        value: answers.filter(({ grade }) => grade?.score === 1).length / answers.length,
        unit: 'share',
        of: answers.length,
        chance: 0.5,
      },
    ];
  },
};

/** What stands behind each parenthesis. */
function textsOf(options: string): readonly string[] {
  return options
    .split('(')
    .slice(1)
    .map((part) => strip(part.split(')')[1] ?? ''));
}
