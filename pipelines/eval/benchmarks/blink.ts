// BLINK (Fu et al. 2024): the validation split. The first picture alone is shown, as the original does.
import type { Benchmark } from '../benchmark.ts';
import { graded } from '../grade.ts';
import { goldLetter } from '../matching/letters.ts';
import { strip, stripLeft, stripRight } from '../matching/python-text.ts';
import { onlyLetter } from '../suffixes.ts';
import { listOf, neededText, picturesOf, textOf } from '../read/row.ts';

export const blink: Benchmark = {
  name: 'blink',
  title: 'BLINK',
  source:
    'BLINK-Benchmark/BLINK, val: Counting, IQ_Test, Object_Localization, Relative_Depth, Relative_Reflectance, Spatial_Relation',
  files: ['val'],
  columns: [['prompt'], ['answer'], ['image_1', 'image']],
  form: 'letter',
  maxNewTokens: 32,
  item: (row) => {
    const options = listOf(row, 'choices').length;
    return {
      prompt: `${neededText(row, 'prompt')}\n${onlyLetter}`,
      pictures: picturesOf(row, 'image_1', 'image').slice(0, 1),
      gold: { answer: neededText(row, 'answer') },
      slices: { task: textOf(row, 'sub_task', 'category') },
      chance: options > 0 ? 1 / options : 0.25,
      options: options > 0 ? options : 4,
      id: textOf(row, 'idx'),
    };
  },
  grade: (answer, { answer: gold }) => {
    const before = strip((answer.split('.')[0] ?? '').toLowerCase());
    const parsed = stripRight(stripLeft(before.split(' ')[0] ?? '', '('), ')');
    return graded(parsed, parsed === goldLetter(String(gold)));
  },
};
