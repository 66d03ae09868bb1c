// A question as numbers for a decoder without words: which slot has which filler, as one row of zeros and ones.
import { answers, slices, type Question } from '../scene/questions.ts';
import { cellsAcross, colors, kinds } from '../scene/scene.ts';

const cells = cellsAcross ** 2;
const parts = [slices.length + 1, colors.length, kinds.length, colors.length, kinds.length, cells] as const;

/** Elements of a row: the kind of question (two for `side`, by its axis), color and kind of two objects, a cell. */
export const questionWidth: number = parts.reduce((sum, size) => sum + size, 0);

/** Writes the row of a question; the row was 0 before. */
export function writeQuestion(row: Float32Array, question: Question): void {
  const { slice, axis, first, second, cell } = question;
  const fillers = [
    axis === 'y' ? slices.length : slices.indexOf(slice),
    first?.color === undefined ? -1 : colors.indexOf(first.color),
    first?.kind === undefined ? -1 : kinds.indexOf(first.kind),
    second === undefined ? -1 : colors.indexOf(second.color),
    second === undefined ? -1 : kinds.indexOf(second.kind),
    cell === undefined ? -1 : cell[0] * cellsAcross + cell[1],
  ];
  let start = 0;
  fillers.forEach((filler, i) => {
    if (filler >= 0) row[start + filler] = 1;
    start += parts[i] ?? 0;
  });
}

/** The class of its answer. */
export function answerClass({ answer }: Question): number {
  return answers.indexOf(answer);
}
