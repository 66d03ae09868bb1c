// OCRBench (Liu et al. 2023): an answer is right that contains any of the gold texts.
import { responseFormats } from '../../train/data/response-formats.ts';
import type { Benchmark } from '../benchmark.ts';
import { graded } from '../grade.ts';
import { strip } from '../matching/python-text.ts';
import { listOf, neededText, picturesOf, textOf, type Row } from '../read/row.ts';

const formulas = 'Handwritten Mathematical Expression Recognition';

export const ocrbench: Benchmark = {
  name: 'ocrbench',
  title: 'OCRBench',
  source: 'echo840/OCRBench, test',
  files: ['test'],
  columns: [['question'], ['answer'], ['question_type', 'category'], ['image']],
  group: 'OCR & Chart',
  form: 'free',
  maxNewTokens: 512,
  item: (row) => ({
    prompt: `${neededText(row, 'question')}\n${responseFormats.short}`,
    pictures: picturesOf(row, 'image'),
    gold: { answers: answersOf(row), type: textOf(row, 'question_type', 'category') },
    slices: { type: textOf(row, 'question_type', 'category') },
    chance: 0,
  }),
  grade: (answer, { answers, type }) => {
    const plain = type === formulas ? withoutSpaces : smallLetters;
    const parsed = plain(answer);
    return graded(parsed, Array.isArray(answers) && answers.some((gold: string) => parsed.includes(plain(gold))));
  },
};

function answersOf(row: Row): readonly string[] {
  const list = listOf(row, 'answer');
  return list.length > 0 ? list : [neededText(row, 'answer')];
}

const oneLine = (text: string): string => strip(text).replaceAll('\n', ' ');
const smallLetters = (text: string): string => oneLine(text.toLowerCase());
const withoutSpaces = (text: string): string => oneLine(text).replaceAll(' ', '');
