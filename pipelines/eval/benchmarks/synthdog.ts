// SynthDoG (Kim et al. 2022), English: transcription within so many edits.
import type { Benchmark, Score } from '../benchmark.ts';
import { charactersApart } from '../matching/distance.ts';
import { strip } from '../matching/python-text.ts';
import { neededText, picturesOf } from '../read/row.ts';

const within = [0, 5, 10, 25, 50];
const question =
  'Please transcribe the text from the image word by word. Only include the words found in the image, and avoid adding any additional context or information.';

export const synthdog: Benchmark = {
  name: 'synthdog',
  title: 'SynthDoG (English)',
  source: 'naver-clova-ix/synthdog-en, validation',
  files: ['validation'],
  columns: [['ground_truth'], ['image']],
  form: 'free',
  maxNewTokens: 128,
  item: (row) => ({
    prompt: question,
    pictures: picturesOf(row, 'image'),
    gold: { text: transcriptIn(neededText(row, 'ground_truth')) },
    slices: {},
    chance: 0,
  }),
  // What is compared between models is the strictest of the five.
  grade: (answer, { text }) => ({ score: apart(answer, String(text)) === 0 ? 1 : 0, parsed: answer }),
  scores: (answers) =>
    within.map((edits): Score => ({
      name: `within ${edits} edits`,
      value:
        answers.filter(({ item, answer, grade }) => {
          return grade !== undefined && apart(answer, String(item.gold['text'])) <= edits;
        }).length / answers.length,
      unit: 'share',
      of: answers.length,
      chance: 0,
    })),
};

function apart(answer: string, text: string): number {
  return charactersApart(strip(answer.toLowerCase()), strip(text.toLowerCase()));
}

/** `gt_parse.text_sequence` of the JSON in the column, or the text itself. */
function transcriptIn(truth: string): string {
  try {
    const json: unknown = JSON.parse(truth);
    const parse: unknown = typeof json === 'object' && json !== null && 'gt_parse' in json ? json.gt_parse : undefined;
    if (typeof parse === 'object' && parse !== null && 'text_sequence' in parse) return String(parse.text_sequence);
  } catch {
    // A plain text.
  }
  return truth;
}
