// VizWiz-VQA (Gurari et al. 2018): soft accuracy on the validation split, a submission file for the test split.
import { responseFormats } from '../../train/data/response-formats.ts';
import type { Benchmark } from '../benchmark.ts';
import { gradeVqa } from '../matching/vqa-accuracy.ts';
import { listOf, neededText, picturesOf, textOf } from '../read/row.ts';

const unanswerable = "When the provided information is insufficient, respond with 'Unanswerable'.";

export const vizwiz: Benchmark = {
  name: 'vizwiz',
  title: 'VizWiz',
  source: 'lmms-lab/VizWiz-VQA, val and test',
  files: ['val', 'test'],
  columns: [['question'], ['image'], ['question_id', 'image_id']],
  form: 'word or phrase',
  maxNewTokens: 128,
  item: (row) => {
    const people = listOf(row, 'answers');
    const id = textOf(row, 'question_id', 'image_id');
    const isJudged = id.includes('val') || (people.length > 0 && !id.includes('test'));
    return {
      prompt: `${neededText(row, 'question')}\n${unanswerable}\n${responseFormats.phrase}`,
      pictures: picturesOf(row, 'image'),
      gold: isJudged ? { answers: people } : {},
      slices: { split: isJudged ? 'val' : 'test' },
      chance: 0,
      id,
    };
  },
  grade: (answer, { answers }) => gradeVqa(answer, answers),
  submission: (answers) => {
    const test = answers.filter(({ item }) => item.slices['split'] === 'test');
    return test.length === 0
      ? undefined
      : {
          file: 'vizwiz_submission.json',
          content: JSON.stringify(
            test.map(({ item, answer }) => ({ image: `${item.id ?? ''}.jpg`, answer: answer.toLowerCase() })),
          ),
          to: 'https://eval.ai/web/challenges/challenge-page/2185',
        };
  },
};
