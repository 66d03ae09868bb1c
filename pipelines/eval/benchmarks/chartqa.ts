// ChartQA (Masry et al. 2022): relaxed accuracy, numbers within 5 %.
import { responseFormats } from '../../train/data/response-formats.ts';
import type { Benchmark } from '../benchmark.ts';
import { graded } from '../grade.ts';
import { areNumbers, isNear } from '../matching/numbers.ts';
import { neededText, picturesOf, textOf } from '../read/row.ts';

export const chartqa: Benchmark = {
  name: 'chartqa',
  title: 'ChartQA',
  source: 'lmms-lab/ChartQA, test',
  files: ['test'],
  columns: [['question'], ['answer'], ['image']],
  group: 'OCR & Chart',
  form: 'word or phrase',
  maxNewTokens: 128,
  item: (row) => ({
    prompt: `${neededText(row, 'question')}\n${responseFormats.number}`,
    pictures: picturesOf(row, 'image'),
    gold: { answer: neededText(row, 'answer') },
    slices: { type: textOf(row, 'type') },
    chance: 0,
  }),
  grade: (answer, { answer: gold }) => {
    const [parsed, wanted] = [answer.toLowerCase(), String(gold).toLowerCase()];
    return graded(parsed, areNumbers(wanted, parsed) ? isNear(parsed, wanted) : parsed === wanted);
  },
};
