// SEED-Bench (Li et al. 2023): the questions with one picture.
import { responseFormats } from '../../train/data/response-formats.ts';
import type { Benchmark } from '../benchmark.ts';
import { graded, optionLines } from '../grade.ts';
import { letterOf } from '../matching/letters.ts';
import { neededText, optionsOf, picturesOf, textOf } from '../read/row.ts';

const kinds = [
  'Scene Understanding',
  'Instance Identity',
  'Instance Attribute',
  'Instance Location',
  'Instance Counting',
  'Spatial Relation',
  'Instance Interaction',
  'Visual Reasoning',
  'Text Recognition',
];

export const seed: Benchmark = {
  name: 'seed',
  title: 'SEED-Bench (pictures)',
  source: 'lmms-lab/SEED-Bench, test',
  files: ['test'],
  columns: [['question'], ['choice_a', 'A'], ['answer'], ['image'], ['question_type_id', 'category']],
  group: 'General',
  form: 'letter',
  maxNewTokens: 512,
  item: (row) => {
    const pictures = picturesOf(row, 'image');
    if (pictures.length > 1) return undefined;
    const own = ['choice_a', 'choice_b', 'choice_c', 'choice_d'].map((name) => textOf(row, name));
    const options = own[0] === '' ? optionsOf(row) : own;
    const kind = textOf(row, 'question_type_id', 'category');
    return {
      prompt: `${neededText(row, 'question')} Options:${optionLines(options)}\n${responseFormats.option}`,
      pictures,
      gold: { answer: neededText(row, 'answer') },
      slices: { type: kinds[Number(kind) - 1] ?? kind },
      chance: 1 / options.length,
      options: options.length,
      id: textOf(row, 'question_id', 'index'),
    };
  },
  grade: (answer, { answer: gold }) => {
    const parsed = letterOf(answer, '.');
    return graded(parsed, parsed === String(gold).toLowerCase());
  },
};
