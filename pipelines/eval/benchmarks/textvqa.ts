// TextVQA (Singh et al. 2019): the validation split, with the OCR tokens of the data set in the question.
import { responseFormats } from '../../train/data/response-formats.ts';
import type { Benchmark } from '../benchmark.ts';
import { gradeVqa } from '../matching/vqa-accuracy.ts';
import { listOf, neededText, picturesOf } from '../read/row.ts';

export const textvqa: Benchmark = {
  name: 'textvqa',
  title: 'TextVQA',
  source: 'lmms-lab/textvqa, validation',
  files: ['validation'],
  columns: [['question'], ['answers'], ['ocr_tokens'], ['image']],
  group: 'OCR & Chart',
  form: 'word or phrase',
  maxNewTokens: 512,
  item: (row) => {
    const tokens = listOf(row, 'ocr_tokens');
    const reference = `Reference OCR tokens:${tokens.length === 0 ? '' : ` ${tokens.join(', ')}`}`;
    return {
      prompt: `${neededText(row, 'question')}\n${reference}\n${responseFormats.phrase}`,
      pictures: picturesOf(row, 'image'),
      gold: { answers: listOf(row, 'answers') },
      slices: {},
      chance: 0,
    };
  },
  // The test split has no answers, or ten empty ones.
  grade: (answer, { answers }) =>
    Array.isArray(answers) && answers.some((one) => one !== '') ? gradeVqa(answer, answers) : undefined,
};
