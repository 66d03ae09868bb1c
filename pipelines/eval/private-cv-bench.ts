// The three private files that Cambrian-1's own evaluation of CV-Bench reads, before it was one data set of the hub.
import { responseFormats } from '../train/data/response-formats.ts';
import type { Benchmark } from './benchmark.ts';
import { graded } from './grade.ts';
import { goldLetter, letterOf } from './matching/letters.ts';
import { listOf, neededText, picturesOf, textOf } from './read/row.ts';

export type PrivateSet = Pick<Benchmark, 'name' | 'title' | 'source' | 'grade'>;

export function privateCvBench(set: PrivateSet): Benchmark {
  return {
    ...set,
    columns: [['prompt'], ['answer'], ['choices'], ['image', 'image_name']],
    group: 'Vision-Centric',
    form: 'letter',
    maxNewTokens: 512,
    item: (row) => {
      const options = listOf(row, 'choices');
      return {
        prompt: `${neededText(row, 'prompt')}\n${responseFormats.option}`,
        pictures: picturesOf(row, 'image', 'image_name'),
        gold: { answer: neededText(row, 'answer'), options },
        slices: { task: textOf(row, 'sub_task', 'task') },
        chance: 1 / options.length,
        options: options.length,
        id: textOf(row, 'img_name', 'image_name'),
      };
    },
  };
}

/** ADE20K and COCO: the letter, full stops stripped. */
export const gradeFlat: Benchmark['grade'] = (answer, { answer: gold }) => {
  const parsed = letterOf(answer, '.');
  return graded(parsed, parsed === goldLetter(String(gold)));
};

/** Omni3D: also the gold option's own text, which a single character can only be where the option is one. */
export const gradeDeep: Benchmark['grade'] = (answer, { answer: gold, options }) => {
  const parsed = letterOf(answer, '.:,');
  const letter = goldLetter(String(gold));
  const text: unknown = Array.isArray(options) ? options[letter.charCodeAt(0) - 97] : undefined;
  return graded(parsed, parsed === letter || parsed === text);
};
