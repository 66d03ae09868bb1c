// Questions of MMBench and their circular score, for both languages.
import type { Answered, Benchmark, Score } from './benchmark.ts';
import { accuracyScore, groupBy, optionLines } from './grade.ts';
import { cellOf, neededText, optionsOf, picturesOf, textOf } from './read/row.ts';

/** What differs between the languages. */
export type MmbenchLanguage = Pick<Benchmark, 'name' | 'title' | 'source' | 'maxNewTokens' | 'grade' | 'group'> & {
  readonly suffix: string;
};

export function mmbench({ suffix, grade, ...language }: MmbenchLanguage): Benchmark {
  return {
    ...language,
    files: ['dev'],
    columns: [['question'], ['A'], ['answer'], ['image'], ['index']],
    form: 'letter',
    item: (row) => {
      const options = optionsOf(row).slice(0, 4);
      const hint = textOf(row, 'hint');
      const question = neededText(row, 'question');
      const written = textOf(row, 'answer');
      const answer = written === 'nan' ? '' : written;
      return {
        prompt: `${hint === '' || hint === 'nan' ? '' : `${hint}\n`}${question} Options:${optionLines(options)}\n${suffix}`,
        pictures: picturesOf(row, 'image'),
        gold: { answer, question, source: textOf(row, 'source') },
        slices: { category: textOf(row, 'category'), ability: textOf(row, 'l2-category', 'L2-category') },
        chance: 1 / options.length,
        options: options.length,
        id: String(cellOf(row, 'index') ?? ''),
      };
    },
    // Rows of the test split have no answer and are only submitted.
    grade: (answer, gold) => (gold['answer'] === '' ? undefined : grade?.(answer, gold)),
    scores: (answers) => [circularScore(answers), accuracyScore(answers, 'accuracy (each rotation)')],
    submission: (answers) => ({
      file: `${language.name}_submission.csv`,
      content: [
        'index,prediction',
        ...answers.map(({ item, answer }) => `${item.id ?? ''},"${answer.replaceAll('"', '""')}"`),
        '',
      ].join('\n'),
      to: 'https://mmbench.opencompass.org.cn/mmbench-submission (as a spreadsheet)',
    }),
  };
}

/**
 * Rotations of one question are rows of the same category, words, picture and source. Of a picture that does not decode nothing is known:
 * there the data set's numbers tell, in which rotations lie a million apart.
 */
function circularScore(answers: readonly Answered[]): Score {
  const groups = [
    ...groupBy(answers, ({ item: { gold, slices, id }, picture }) =>
      JSON.stringify([
        slices['category'],
        gold['question'],
        picture === '' ? Number(id) % 1_000_000 : picture,
        gold['source'],
      ]),
    ).values(),
  ];
  const right = groups.filter((own) => own.every(({ grade }) => grade?.score === 1)).length;
  const chance = groups.reduce((sum, own) => sum + own.reduce((all, { item }) => all * item.chance, 1), 0);
  return {
    name: 'circular accuracy',
    value: right / groups.length,
    unit: 'share',
    of: groups.length,
    chance: chance / groups.length,
  };
}
