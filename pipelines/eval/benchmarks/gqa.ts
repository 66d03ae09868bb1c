// GQA (Hudson and Manning 2019): the balanced test-dev questions, whose pictures are a table of their own on the hub.
import { responseFormats } from '../../train/data/response-formats.ts';
import type { Benchmark } from '../benchmark.ts';
import { graded } from '../grade.ts';
import { stripRight } from '../matching/python-text.ts';
import { cellOf, neededText, picturesOf, textOf, type Row } from '../read/row.ts';

export const gqa: Benchmark = {
  name: 'gqa',
  title: 'GQA',
  source: 'lmms-lab/GQA, testdev_balanced_instructions and testdev_balanced_images',
  files: ['testdev_balanced', 'testdev'],
  columns: [['question'], ['answer'], ['imageId', 'image']],
  pictures: { files: '_images', key: 'imageId', id: 'id', column: 'image' },
  group: 'General',
  form: 'word or phrase',
  maxNewTokens: 128,
  item: (row) => ({
    prompt: `${neededText(row, 'question')}\n${responseFormats.phrase}`,
    pictures: picturesOf(row, 'image', 'imageId'),
    gold: { answer: neededText(row, 'answer') },
    slices: kindOf(row),
    chance: 0,
  }),
  grade: (answer, { answer: gold }) => {
    const parsed = stripRight(answer.toLowerCase(), '.');
    return graded(parsed, parsed === String(gold).toLowerCase());
  },
};

/** The structural type of `types`, a record on the hub. */
function kindOf(row: Row): Readonly<Record<string, string>> {
  const types = cellOf(row, 'types');
  if (typeof types === 'object' && types !== null && 'structural' in types) return { type: String(types.structural) };
  return { type: textOf(row, 'type') };
}
