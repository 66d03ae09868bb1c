// Q-Bench (Wu et al. 2023): questions about the quality of pictures, llvisionqa_dev.json with its folder of pictures.
import type { Benchmark } from '../benchmark.ts';
import { graded, optionLines } from '../grade.ts';
import { letterAt } from '../matching/letters.ts';
import { strip } from '../matching/python-text.ts';
import { onlyLetter } from '../suffixes.ts';
import { listOf, neededText, picturesOf, textOf } from '../read/row.ts';

const kinds = ['Yes/No', 'What'];

export const qbench: Benchmark = {
  name: 'qbench',
  title: 'Q-Bench',
  source: 'teowu/LLVisionQA-QBench, llvisionqa_dev.json and images',
  files: ['llvisionqa_dev', 'dev'],
  columns: [['question'], ['candidates'], ['correct_ans'], ['img_path', 'image']],
  form: 'letter',
  maxNewTokens: 32,
  item: (row) => {
    const options = listOf(row, 'candidates');
    return {
      prompt: `${neededText(row, 'question')} Options:${optionLines(options)}\n${onlyLetter}`,
      pictures: picturesOf(row, 'image', 'img_path'),
      gold: { answer: letterAt(options.lastIndexOf(neededText(row, 'correct_ans'))) },
      slices: { type: kinds[Number(textOf(row, 'type'))] ?? 'How' },
      chance: 1 / options.length,
      options: options.length,
    };
  },
  grade: (answer, { answer: gold }) => {
    const parsed = strip((answer.split('.')[0] ?? '').toLowerCase());
    return graded(parsed, parsed === String(gold).toLowerCase());
  },
};
