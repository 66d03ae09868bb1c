// V* Bench (Wu and Xie 2023): a question file of LLaVA's kind with labels; the text carries its options.
import type { Benchmark } from '../benchmark.ts';
import { graded } from '../grade.ts';
import { letterOf } from '../matching/letters.ts';
import { neededText, picturesOf, textOf } from '../read/row.ts';

export const vstar: Benchmark = {
  name: 'vstar',
  title: 'V* Bench',
  source: 'craigwu/vstar_bench, test_questions.jsonl and its folders of pictures',
  files: ['test'],
  columns: [['text'], ['image'], ['label']],
  form: 'letter',
  maxNewTokens: 32,
  item: (row) => {
    const text = neededText(row, 'text');
    const options = [...text.matchAll(/^\([A-Z]\)/gm)].length;
    return {
      prompt: text,
      pictures: picturesOf(row, 'image'),
      gold: { label: neededText(row, 'label') },
      slices: { category: textOf(row, 'category') },
      chance: options > 0 ? 1 / options : 0.25,
      options: options > 0 ? options : 4,
      id: textOf(row, 'question_id'),
    };
  },
  grade: (answer, { label }) => {
    const parsed = letterOf(answer, '.');
    return graded(parsed, parsed === String(label).toLowerCase());
  },
};
