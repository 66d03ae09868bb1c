// Right answers that are missing, lists, records, or of another kind than the question asks for: none of them becomes a score of nothing.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { allBenchmarks } from '../../../pipelines/eval/benchmarks.ts';
import { readQuestions } from '../../../pipelines/eval/read/questions.ts';
import { resultOf, type Judged } from '../../../pipelines/eval/report/results.ts';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-golds-'));
afterAll(() => rmSync(folder, { recursive: true }));
const all = await allBenchmarks();
const image = 'x.png';

interface Given {
  readonly row: object;
  /** Undefined where it could not be asked. */
  readonly answer: string | undefined;
}

function benchmarkOf(name: string) {
  const benchmark = all.get(name);
  if (benchmark === undefined) throw new Error(`there is no ${name}`);
  return benchmark;
}

async function questions(name: string, rows: readonly object[]) {
  const path = join(folder, `${name}.jsonl`);
  writeFileSync(path, rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  return (await readQuestions(benchmarkOf(name), path)).asked;
}

async function judged(name: string, given: readonly Given[]) {
  const benchmark = benchmarkOf(name);
  const asked = await questions(
    name,
    given.map(({ row }) => row),
  );
  const answers = asked.map(({ item, index, key }): Judged => {
    const answer = given[index]?.answer;
    const failed = answer === undefined;
    const grade = failed ? undefined : benchmark.grade?.(answer, item.gold);
    return { item, index, key, answer: answer ?? '', grade, picture: failed ? '' : 'p', failure: failed ? 'no' : '' };
  });
  return { result: resultOf(benchmark, [], answers), submission: benchmark.submission?.(answers, 'model') };
}

describe('rows without a right answer', () => {
  const row = (index: number, answer: string, question = 'Where?') => ({
    index,
    question,
    A: 'left',
    B: 'right',
    answer,
    category: 'place',
    image,
  });

  test.each(['', 'nan'])('MMBench, %o: nothing is counted, nor in slices', async (none) => {
    const { result, submission } = await judged('mmbench', [
      { row: row(1, none), answer: 'A' },
      { row: row(2, none), answer: undefined },
    ]);
    expect([result.figures, result.slices]).toEqual([[], []]);
    expect(submission?.content).toBe('index,prediction\n1,"A"\n2,""\n');
    const beside = await judged('mmbench', [
      { row: row(1, 'A'), answer: 'A' },
      { row: row(2, 'B', 'Which?'), answer: undefined },
      { row: row(3, none, 'What?'), answer: 'A' },
      { row: row(4, none, 'Who?'), answer: undefined },
    ]);
    expect(beside.result.slices).toMatchObject([{ value: 'place', count: 2, accuracy: 0.5 }]);
    expect(beside.result.figures).toMatchObject([
      { name: 'circular accuracy', value: 0.5, of: 2 },
      { name: 'accuracy (each rotation)', value: 0.5, of: 2 },
    ]);
  });

  test.each([[[]], [Array.from({ length: 10 }, () => '')]])('TextVQA: %j', async (answers) => {
    const row = { question: 'What?', ocr_tokens: [], image, answers };
    const { result } = await judged('textvqa', [{ row, answer: 'it' }]);
    expect([result.figures, result.slices]).toEqual([[], []]);
  });
});

test('MMBench: questions whose pictures do not decode are as many as they are, each with its rotations', async () => {
  const row = (index: number, answer: string) => ({ index, question: 'Where?', A: 'x', B: 'y', answer, image });
  const { result } = await judged('mmbench', [
    { row: row(7, 'A'), answer: 'A' },
    { row: row(1_000_007, 'B'), answer: 'B' },
    ...[8, 1_000_008, 9, 1_000_009].map((index) => ({ row: row(index, 'A'), answer: undefined })),
  ]);
  expect(result.figures[0]).toMatchObject({ value: 1 / 3, of: 3 });
});

test('options of MMMU in a list of JSON are asked about', async () => {
  const base = { question: 'Which?', answer: 'B', question_type: 'multiple-choice', image_1: image, id: 'v_Art_1' };
  for (const options of [`["red", "blue"]`, `['red', 'blue']`, ['red', 'blue']]) {
    const [asked] = await questions('mmmu', [{ ...base, options }]);
    expect(asked?.item).toMatchObject({ chance: 0.5, options: 2 });
    expect(asked?.item.prompt).toMatch(/Options:\nA\. red\nB\. blue\n/);
  }
});

test('a list of records is no list of texts', async () => {
  const answers = [{ answer: 'a cup', answer_confidence: 'yes' }];
  for (const given of [answers, JSON.stringify(answers)])
    await expect(questions('textvqa', [{ question: 'What?', ocr_tokens: [], image, answers: given }])).rejects.toThrow(
      /textvqa\.jsonl[^]*has \{"answer":"a cup"[^]*among its answers/,
    );
});

test('numbers of questions that are none stay what they are called in a submission', async () => {
  const row = (questionId: string | number) => ({ questionId, question: 'Who?', image });
  const { submission } = await judged('docvqa', [
    { row: row(49153), answer: 'he' },
    { row: row('page-3'), answer: 'she' },
  ]);
  expect(JSON.parse(submission?.content ?? '')).toEqual([
    { questionId: 49153, answer: 'he' },
    { questionId: 'page-3', answer: 'she' },
  ]);
});

describe('a file whose right answers nobody can give is refused', () => {
  test.each([
    ['pope', { question: 'Is it?', answer: true, image }, /none of the 2 right answers of \S+ is yes or no: .*true/],
    ['mmstar', { question: 'Which?', answer: 'left', category: 'c', image, A: 'left', B: 'right' }, /the letter of/],
    ['qbench', { question: 'How?', candidates: ['a', 'b'], correct_ans: 'c', img_path: image }, /the letter of/],
    ['seed', { question: 'How?', choice_a: 'x', answer: 2, image, question_type_id: 1 }, /the letter of/],
  ])('%s', async (name, row, message) => {
    await expect(questions(name, [row, row])).rejects.toThrow(message);
  });

  test('one of several is not', async () => {
    const row = (answer: unknown) => ({ question: 'Is it?', answer, image });
    expect(await questions('pope', [row('yes'), row('maybe')])).toHaveLength(2);
  });
});
