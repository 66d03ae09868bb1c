// MMStar (Chen et al. 2024): the first word of the answer is the letter.
import type { Benchmark } from '../benchmark.ts';
import { graded } from '../grade.ts';
import { plainWordOf } from '../matching/letters.ts';
import { onlyLetter } from '../suffixes.ts';
import { neededText, optionsOf, picturesOf, textOf } from '../read/row.ts';
import { optionLines } from '../grade.ts';

export const mmstar: Benchmark = {
  name: 'mmstar',
  title: 'MMStar',
  source: 'Lin-Chen/MMStar, val',
  files: ['val', 'mmstar'],
  columns: [['question'], ['answer'], ['image'], ['category']],
  form: 'letter',
  maxNewTokens: 128,
  item: (row) => {
    // The hub's question holds its options; VLMEvalKit's file has them in columns.
    const options = optionsOf(row);
    return {
      prompt: `${neededText(row, 'question')}${optionLines(options)}\n${onlyLetter}`,
      pictures: picturesOf(row, 'image'),
      gold: { answer: neededText(row, 'answer') },
      slices: { category: textOf(row, 'category'), l2: textOf(row, 'l2_category', 'l2-category') },
      chance: options.length === 0 ? 0.25 : 1 / options.length,
      options: options.length === 0 ? 4 : options.length,
    };
  },
  grade: (answer, { answer: gold }) => {
    const parsed = plainWordOf(answer);
    return graded(parsed, parsed === String(gold).toLowerCase());
  },
};
