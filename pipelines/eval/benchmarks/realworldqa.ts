// RealWorldQA (xAI 2024): the question says itself how it wants to be answered.
import type { Benchmark } from '../benchmark.ts';
import { graded } from '../grade.ts';
import { firstWordOf } from '../matching/letters.ts';
import { neededText, picturesOf } from '../read/row.ts';

export const realworldqa: Benchmark = {
  name: 'realworldqa',
  title: 'RealWorldQA',
  source: 'lmms-lab/RealWorldQA, test',
  files: ['test'],
  columns: [['question'], ['answer'], ['image']],
  group: 'Vision-Centric',
  form: 'word or phrase',
  maxNewTokens: 512,
  item: (row) => {
    const question = neededText(row, 'question');
    const options = [...question.matchAll(/^[A-Z]\. /gm)].length;
    return {
      prompt: question,
      pictures: picturesOf(row, 'image'),
      gold: { answer: neededText(row, 'answer') },
      slices: { kind: options > 0 ? 'options' : 'open' },
      chance: options > 0 ? 1 / options : 0,
    };
  },
  grade: (answer, { answer: gold }) => {
    const parsed = firstWordOf(answer);
    return graded(parsed, parsed === String(gold).toLowerCase());
  },
};
