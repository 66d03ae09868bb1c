// MathVista (Lu et al. 2023): testmini, without a language model that reads the answers.
import { responseFormats } from '../../train/data/response-formats.ts';
import type { Benchmark } from '../benchmark.ts';
import { graded } from '../grade.ts';
import { letterAt } from '../matching/letters.ts';
import { areNumbers, isNear } from '../matching/numbers.ts';
import { strip } from '../matching/python-text.ts';
import { cellOf, listOf, neededText, picturesOf, textOf, type Row } from '../read/row.ts';

export const mathvista: Benchmark = {
  name: 'mathvista',
  title: 'MathVista (testmini)',
  source: 'AI4Math/MathVista, testmini',
  files: ['testmini'],
  columns: [['query', 'question'], ['question_type'], ['answer'], ['decoded_image', 'image'], ['choices']],
  group: 'Knowledge',
  form: 'free',
  maxNewTokens: 512,
  item: (row) => {
    const isChoice = textOf(row, 'question_type') === 'multi_choice';
    const options = isChoice ? listOf(row, 'choices') : [];
    const answer = neededText(row, 'answer');
    return {
      prompt: `${neededText(row, 'query', 'question')}\n${isChoice ? responseFormats.reasoning : responseFormats.phrase}`,
      pictures: picturesOf(row, 'decoded_image', 'image'),
      // Of equal options the last counts, as in the original's dictionary.
      gold: { answer: isChoice ? letterAt(options.lastIndexOf(answer)) : answer },
      slices: { category: categoryOf(row), type: textOf(row, 'question_type') },
      chance: isChoice ? 1 / options.length : 0,
      id: textOf(row, 'pid'),
    };
  },
  // The original cuts at the full stop for the type 'multiple-choice', which the data never has.
  grade: (answer, { answer: gold }) => {
    const parsed = strip(answer.toLowerCase());
    const wanted = String(gold).toLowerCase();
    return graded(parsed, parsed === wanted || (areNumbers(wanted, parsed) && isNear(wanted, parsed)));
  },
};

function categoryOf(row: Row): string {
  const metadata = cellOf(row, 'metadata');
  if (typeof metadata === 'object' && metadata !== null && 'category' in metadata) return String(metadata.category);
  return textOf(row, 'category');
}
