// Anybody's question file of LLaVA's kind: `question_id`, `image`, `text`, and `label` or `answer` where there is one.
import type { Benchmark } from '../benchmark.ts';
import { graded } from '../grade.ts';
import { strip, stripRight } from '../matching/python-text.ts';
import { cellOf, neededText, picturesOf, textOf, type Row } from '../read/row.ts';

export const llava: Benchmark = {
  name: 'llava',
  title: 'questions in the format of LLaVA',
  source: 'a file of your own',
  columns: [['text'], ['question_id']],
  form: 'free',
  maxNewTokens: 512,
  item: (row) => ({
    prompt: neededText(row, 'text'),
    pictures: picturesOf(row, 'image'),
    gold: { answer: textOf(row, 'label', 'answer') },
    slices: { category: textOf(row, 'category') },
    chance: 0,
    id: numberOf(row),
  }),
  grade: (answer, { answer: gold }) => {
    if (gold === '') return undefined;
    const parsed = stripRight(strip(answer.toLowerCase()), '.');
    return graded(parsed, parsed === strip(String(gold).toLowerCase()));
  },
  submission: (answers, model) => ({
    file: 'llava_answers.jsonl',
    content: answers
      .map(
        ({ item, answer }) =>
          `${JSON.stringify({ question_id: item.id, prompt: item.prompt, text: answer, answer_id: '', model_id: model, metadata: {} })}\n`,
      )
      .join(''),
    to: "LLaVA's own scripts of evaluation",
  }),
};

/** As it stands in the file: a number stays one in the answers. */
function numberOf(row: Row): string | number {
  const id = cellOf(row, 'question_id');
  return typeof id === 'number' ? id : textOf(row, 'question_id');
}
