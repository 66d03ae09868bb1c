// ScienceQA (Lu et al. 2022): the questions of the test split that have a picture.
import type { Benchmark } from '../benchmark.ts';
import { graded, optionLines } from '../grade.ts';
import { letterAt, phraseOf } from '../matching/letters.ts';
import { strip } from '../matching/python-text.ts';
import { onlyLetter } from '../suffixes.ts';
import { neededText, optionsOf, picturesOf, textOf } from '../read/row.ts';

/** Python's `string.punctuation`. */
const punctuation = /[!"#$%&'()*+,\-./:;<=>?@[\\\]^_`{|}~]/g;

export const scienceqa: Benchmark = {
  name: 'scienceqa',
  title: 'ScienceQA (with picture)',
  source: 'derek-thomas/ScienceQA, test',
  files: ['test'],
  columns: [['question'], ['choices', 'A'], ['answer'], ['image']],
  group: 'Knowledge',
  form: 'letter',
  maxNewTokens: 512,
  item: (row) => {
    const pictures = picturesOf(row, 'image');
    // The others would be answered by the language model alone, and are not in the score that is reported.
    if (pictures.length === 0) return undefined;
    const options = optionsOf(row, 'choices');
    const hint = textOf(row, 'hint');
    const answer = neededText(row, 'answer');
    const place = /^\d+$/.test(answer) ? Number(answer) : answer.toUpperCase().charCodeAt(0) - 65;
    const question = neededText(row, 'question');
    return {
      prompt: `${hint === '' ? question : `${hint} ${question}`}${optionLines(options)}\n${onlyLetter}`,
      pictures,
      gold: { letter: letterAt(place), text: options[place] ?? '' },
      slices: { grade: textOf(row, 'grade', 'category') },
      chance: 1 / options.length,
      options: options.length,
    };
  },
  grade: (answer, { letter, text }) => {
    const parsed = phraseOf(answer);
    const isRight =
      bare(parsed) === bare(strip(String(text).toLowerCase())) ||
      (parsed.split('.')[0] ?? '') === strip(String(letter).toLowerCase());
    return graded(parsed, isRight);
  },
};

function bare(sentence: string): string {
  return strip(sentence.replace(punctuation, '').toLowerCase());
}
