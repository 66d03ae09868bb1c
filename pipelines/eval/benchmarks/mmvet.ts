// MM-Vet (Yu et al. 2023): judged by a language model elsewhere; a submission file is made.
import type { Benchmark } from '../benchmark.ts';
import { neededText, picturesOf, textOf } from '../read/row.ts';

export const mmvet: Benchmark = {
  name: 'mmvet',
  title: 'MM-Vet',
  source: 'lmms-lab/MMVet, test',
  files: ['test'],
  columns: [['question'], ['question_id'], ['image']],
  form: 'free',
  maxNewTokens: 128,
  item: (row) => ({
    prompt: neededText(row, 'question'),
    pictures: picturesOf(row, 'image'),
    gold: {},
    slices: {},
    chance: 0,
    id: textOf(row, 'question_id'),
  }),
  submission: (answers) => ({
    file: 'mmvet_submission.json',
    content: JSON.stringify(Object.fromEntries(answers.map(({ item, answer }) => [item.id ?? '', answer]))),
    to: 'https://huggingface.co/spaces/whyu/MM-Vet_Evaluator',
  }),
};
