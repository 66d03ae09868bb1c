// POPE (Li et al. 2023): is there such a thing in the picture? Yes or no.
import { responseFormats } from '../../train/data/response-formats.ts';
import type { Benchmark } from '../benchmark.ts';
import { graded } from '../grade.ts';
import { plainWordOf } from '../matching/letters.ts';
import { neededText, picturesOf, textOf } from '../read/row.ts';

export const pope: Benchmark = {
  name: 'pope',
  title: 'POPE',
  source: 'lmms-lab/POPE, test',
  files: ['test'],
  columns: [['question', 'text'], ['answer', 'label'], ['image']],
  form: 'yes or no',
  maxNewTokens: 128,
  item: (row) => ({
    prompt: `${neededText(row, 'question', 'text')}\n${responseFormats.phrase}`,
    pictures: picturesOf(row, 'image'),
    gold: { answer: neededText(row, 'answer', 'label') },
    slices: { category: textOf(row, 'category') },
    chance: 0.5,
    id: textOf(row, 'question_id'),
  }),
  grade: (answer, { answer: gold }) => {
    const parsed = plainWordOf(answer);
    return graded(parsed, parsed === String(gold).toLowerCase());
  },
};
