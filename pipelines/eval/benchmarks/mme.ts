// MME (Fu et al. 2023): pairs of questions of one picture, yes or no. A subtask's score is 100 · (accuracy + share of pairs that are
// both right); Perception is the sum over ten of them.
import { responseFormats } from '../../train/data/response-formats.ts';
import type { Answered, Benchmark, Score } from '../benchmark.ts';
import { graded, groupBy, meanScore } from '../grade.ts';
import { stripRight } from '../matching/python-text.ts';
import { neededText, picturesOf, textOf } from '../read/row.ts';

const perception = new Set('existence count position color posters celebrity scene landmark artwork OCR'.split(' '));
const cognition = new Set('commonsense_reasoning numerical_calculation text_translation code_reasoning'.split(' '));
/** Half of the answers, and a quarter of the pairs. */
const guessed = 75;

export const mme: Benchmark = {
  name: 'mme',
  title: 'MME',
  source: 'lmms-lab/MME, test',
  files: ['test'],
  columns: [['question'], ['answer'], ['category'], ['image']],
  group: 'General',
  form: 'yes or no',
  maxNewTokens: 32,
  item: (row) => ({
    prompt: `${neededText(row, 'question')}\n${responseFormats.phrase}`,
    pictures: picturesOf(row, 'image'),
    gold: { answer: neededText(row, 'answer') },
    slices: { category: textOf(row, 'category') },
    chance: 0.5,
    id: textOf(row, 'question_id'),
  }),
  grade: (answer, { answer: gold }) => {
    const parsed = stripRight(answer.toLowerCase(), '.');
    return graded(parsed, parsed === String(gold).toLowerCase());
  },
  scores: (answers) => {
    const subtasks = [...groupBy(answers, ({ item }) => item.slices['category'] ?? '')].map(([name, own]) => ({
      name,
      points: 100 * (meanScore(own) + rightInPairs(own) / own.length),
    }));
    const sum = (of: ReadonlySet<string>): Score => {
      const found = subtasks.filter(({ name }) => of.has(name));
      const value = found.reduce((all, { points }) => all + points, 0);
      return { name: '', value, unit: 'points', chance: guessed * found.length };
    };
    return [
      { ...sum(perception), name: 'Perception' },
      { ...sum(cognition), name: 'Cognition' },
      ...subtasks.map(({ name, points }): Score => ({ name, value: points, unit: 'points', chance: guessed })),
    ];
  },
};

/**
 * How many answers belong to pairs that are both right. Rows alternate, first and second of a pair by their number in the file; what is
 * counted is a running number whose parity says whether the first was right, as the original does.
 */
export function rightInPairs(answers: readonly Answered[]): number {
  let count = 0;
  for (const { index, grade } of answers) {
    const isSecond = index % 2 === 1;
    if (grade?.score === 1) {
      if (!isSecond || count % 2 === 1) count++;
    } else if (isSecond && count % 2 === 1) count--;
  }
  return count;
}
