// AI2D (Kembhavi et al. 2016): the test split; the gold answer is the option's place.
import { responseFormats } from '../../train/data/response-formats.ts';
import type { Benchmark } from '../benchmark.ts';
import { graded, optionLines } from '../grade.ts';
import { letterOf } from '../matching/letters.ts';
import { neededText, optionsOf, picturesOf } from '../read/row.ts';

export const ai2d: Benchmark = {
  name: 'ai2d',
  title: 'AI2D',
  source: 'lmms-lab/ai2d, test',
  files: ['test'],
  columns: [['question'], ['options', 'A'], ['answer'], ['image']],
  group: 'Knowledge',
  form: 'letter',
  maxNewTokens: 512,
  item: (row) => {
    const options = optionsOf(row, 'options');
    const answer = neededText(row, 'answer');
    return {
      prompt: `${neededText(row, 'question')}${optionLines(options)}\n${responseFormats.option}`,
      pictures: picturesOf(row, 'image'),
      gold: { place: /^\d+$/.test(answer) ? answer : String(answer.toUpperCase().charCodeAt(0) - 65) },
      slices: {},
      chance: 1 / options.length,
      options: options.length,
    };
  },
  grade: (answer, { place }) => {
    const parsed = letterOf(answer, '.:,');
    const at = 'abcd'.indexOf(parsed);
    return graded(parsed, (parsed !== '' && at >= 0 ? String(at) : parsed) === place);
  },
};
