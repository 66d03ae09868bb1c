// MMMU (Yue et al. 2023): the validation split. The first picture alone is shown, as the original does.
import { responseFormats } from '../../train/data/response-formats.ts';
import type { Benchmark } from '../benchmark.ts';
import { graded, optionLines } from '../grade.ts';
import { letterOf, phraseOf } from '../matching/letters.ts';
import { areNumbers, isNear } from '../matching/numbers.ts';
import { strip } from '../matching/python-text.ts';
import { cellOf, listOf, neededText, picturesOf, textOf, type Row } from '../read/row.ts';

const choice = 'multiple-choice';

export const mmmu: Benchmark = {
  name: 'mmmu',
  title: 'MMMU',
  source: 'lmms-lab/MMMU, validation',
  files: ['validation'],
  columns: [['question'], ['options'], ['answer'], ['question_type'], ['image_1', 'image'], ['id', 'index']],
  group: 'Knowledge',
  form: 'free',
  maxNewTokens: 512,
  item: (row) => {
    const type = textOf(row, 'question_type');
    const options = type === choice ? optionsIn(row) : [];
    const asked =
      type === choice ? ` Options:${optionLines(options)}\n${responseFormats.option}` : `\n${responseFormats.phrase}`;
    const prompt = `${neededText(row, 'question')}${asked}`.replace(/<image \d+>/g, '');
    const pictures = picturesOf(row, 'image_1', 'image').slice(0, 1);
    return {
      // The picture's own words stand in front there, so that only the end is stripped.
      prompt: pictures.length === 0 ? strip(prompt) : prompt.replace(/\s+$/, ''),
      pictures,
      gold: { answer: neededText(row, 'answer'), type },
      slices: { subject: subjectOf(textOf(row, 'id')) ?? textOf(row, 'category'), type },
      chance: options.length === 0 ? 0 : 1 / options.length,
      ...(options.length === 0 ? {} : { options: options.length }),
      id: textOf(row, 'id', 'index'),
    };
  },
  grade: (answer, { answer: gold, type }) => {
    const parsed = type === choice ? letterOf(answer, '.:,') : phraseOf(answer);
    const wanted = String(gold).toLowerCase();
    return graded(parsed, parsed === wanted || (areNumbers(wanted, parsed) && isNear(wanted, parsed)));
  },
};

/** `Art_Theory` of `validation_Art_Theory_3`: subjects have underscores of their own, and Art is another one. */
function subjectOf(id: string): string | undefined {
  return /^[^_]+_(.+)_\d+$/.exec(id)?.[1];
}

/** What stands between single quotes of a printed list, as the original reads it. */
function optionsIn(row: Row): readonly string[] {
  const value = cellOf(row, 'options');
  if (Array.isArray(value)) return value.map(String);
  const printed = [...String(value ?? '').matchAll(/'([^\n]*?)'/g)].map(([, option]) => option ?? '');
  // A list in JSON has none, and the question would be asked without its options.
  return printed.length > 0 ? printed : listOf(row, 'options');
}
