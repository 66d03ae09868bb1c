// DocVQA, InfographicVQA and ST-VQA: a submission file, and ANLS where the file has the answers (validation splits).
import type { Benchmark } from './benchmark.ts';
import { anls } from './matching/distance.ts';
import { listOf, neededText, picturesOf, textOf } from './read/row.ts';

export type DocumentSet = Pick<Benchmark, 'name' | 'title' | 'source' | 'group' | 'files'> & {
  readonly suffix: string;
  /** Column of the question's number, also its name in the submission. */
  readonly id: string;
  readonly to: string;
};

export function documentQuestions({ suffix, id, to, ...set }: DocumentSet): Benchmark {
  return {
    ...set,
    columns: [['question'], [id], ['image']],
    form: 'word or phrase',
    maxNewTokens: 128,
    item: (row) => ({
      prompt: `${neededText(row, 'question')}\n${suffix}`,
      pictures: picturesOf(row, 'image'),
      gold: { answers: listOf(row, 'answers') },
      slices: {},
      chance: 0,
      id: textOf(row, id),
    }),
    grade: (answer, { answers }) =>
      Array.isArray(answers) && answers.length > 0
        ? { score: anls(answer, answers), parsed: answer.toLowerCase() }
        : undefined,
    submission: (answers) => ({
      file: `${set.name}_submission.json`,
      content: JSON.stringify(answers.map(({ item, answer }) => ({ [id]: numberOr(String(item.id)), answer }))),
      to,
    }),
  };
}

/** Leaderboards number their questions; what is no number stays what it is called. */
function numberOr(id: string): number | string {
  return id !== '' && Number.isSafeInteger(Number(id)) ? Number(id) : id;
}
