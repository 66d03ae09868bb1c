// Rules of matching against vectors from Cambrian-1's own evaluation, and the other harnesses' parsers against cases read from their sources.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { allBenchmarks } from '../../../pipelines/eval/benchmarks.ts';
import { cvBenchScores } from '../../../pipelines/eval/cv-bench-questions.ts';
import { meanScore } from '../../../pipelines/eval/grade.ts';
import type { Answered } from '../../../pipelines/eval/benchmark.ts';
import { combineSources, lmmsEvalLetter, vlmEvalKitLetter } from '../../../pipelines/eval/matching/cv-bench.ts';
import { anls } from '../../../pipelines/eval/matching/distance.ts';
import { isInForm } from '../../../pipelines/eval/matching/form.ts';
import { firstWordOf, letterOf, optionOf, phraseOf } from '../../../pipelines/eval/matching/letters.ts';
import { isNear } from '../../../pipelines/eval/matching/numbers.ts';
import { pythonFloat, strip, words } from '../../../pipelines/eval/matching/python-text.ts';
import { normalizeAnswer, vqaAccuracy } from '../../../pipelines/eval/matching/vqa-accuracy.ts';

const golden = join(import.meta.dirname, '../../golden/cambrian');
const read = (name: string): unknown => JSON.parse(readFileSync(join(golden, name), 'utf8'));
const benchmarks = await allBenchmarks();

/** Each function of the original by its name in the vectors. */
const rules: Readonly<Record<string, (text: string) => string | undefined>> = {
  'ade.extract_mcq_answer': (text) => letterOf(text, '.'),
  'coco.extract_mcq_answer': (text) => letterOf(text, '.'),
  'omni.extract_mcq_answer': (text) => letterOf(text, '.:,'),
  'seed.extract_mcq_answer': (text) => letterOf(text, '.'),
  'ai2d.extract_mcq_answer': (text) => letterOf(text, '.:,'),
  'mmmu.extract_mcq_answer': (text) => letterOf(text, '.:,'),
  'mmvp.extract_mcq_answer': (text) => optionOf(text, '.:,'),
  'vstar.extract_mcq_answer': (text) => letterOf(text, '.'),
  'mmmu.extract_single_answer': phraseOf,
  'realworldqa.extract_single_answer': firstWordOf,
  'scienceqa.extract_answer': phraseOf,
};

describe('eval_matching.json', () => {
  const rows = z
    .array(z.record(z.string(), z.union([z.string(), z.object({ error: z.string() })])))
    .parse(read('eval_matching.json'));
  test.each(rows.map((row) => [JSON.stringify(row['text']), row] as const))('%s', (_, { text, ...wanted }) => {
    for (const [name, value] of Object.entries(wanted)) {
      const rule = rules[name];
      if (rule === undefined) throw new Error(`the vectors have a rule ${name}`);
      // Where the original ends with IndexError there is no answer.
      expect(rule(String(text)), name).toBe(typeof value === 'string' ? value : undefined);
    }
  });
});

describe('cvbench_scoring.json', () => {
  const line = z.object({
    answer: z.string(),
    gt_answer: z.string(),
    category: z.string(),
    options: z.array(z.string()),
  });
  const part = z.object({
    lines: z.array(line),
    accuracy: z.number(),
    total: z.number(),
    per_category: z.record(z.string(), z.object({ accuracy: z.number(), total: z.number() })),
  });
  const { ade, coco, omni, combined } = z
    .object({
      ade: part,
      coco: part,
      omni: part,
      combined: z.object({ accuracy_2d: z.number(), accuracy_3d: z.number(), overall: z.number() }),
    })
    .parse(read('cvbench_scoring.json'));
  const sourceOf = { ade: 'ADE20K', coco: 'COCO', omni: 'Omni3D' } as const;

  const answered = (name: keyof typeof sourceOf, { lines }: z.infer<typeof part>, by: string): readonly Answered[] =>
    lines.map(({ answer, gt_answer: gold, category, options }, index) => {
      const item = {
        prompt: '',
        pictures: [],
        gold: { answer: gold, options, source: sourceOf[name] },
        slices: { task: category },
        chance: 0,
      };
      return { item, index, answer, picture: '', grade: benchmarks.get(by)?.grade?.(answer, item.gold) };
    });

  test.each(Object.entries({ ade, coco, omni }) as [keyof typeof sourceOf, typeof ade][])('%s', (name, wanted) => {
    for (const adapter of [name, 'cv-bench']) {
      const all = answered(name, wanted, adapter);
      expect(all).toHaveLength(wanted.total);
      expect(meanScore(all)).toBeCloseTo(wanted.accuracy, 12);
      for (const [category, { accuracy, total }] of Object.entries(wanted.per_category)) {
        const own = all.filter(({ item }) => item.slices['task'] === category);
        expect([own.length, meanScore(own)]).toEqual([total, accuracy]);
      }
    }
  });

  test('combined', () => {
    const { twoD, threeD, overall } = combineSources(ade.accuracy, coco.accuracy, omni.accuracy);
    expect([twoD, threeD, overall]).toEqual([combined.accuracy_2d, combined.accuracy_3d, combined.overall]);
    const all = [
      ...answered('ade', ade, 'cv-bench'),
      ...answered('coco', coco, 'cv-bench'),
      ...answered('omni', omni, 'cv-bench'),
    ];
    const value = (name: string): number | undefined => cvBenchScores(all).find((score) => score.name === name)?.value;
    expect(value('paper')).toBeCloseTo(combined.overall, 12);
    expect(value('paper 2D')).toBeCloseTo(combined.accuracy_2d, 12);
    expect(value('paper 3D')).toBeCloseTo(combined.accuracy_3d, 12);
  });
});

describe("the other harnesses' letters", () => {
  test.each([
    ['(B)', 'B'],
    ['b. left', 'B'],
    [' ( C ) three', 'C'],
    ['The answer is (B)', 'T'],
    ['3', ''],
    ['', ''],
    // To Python's IGNORECASE the long s is an s.
    ['ſ', 'S'],
  ])('lmms-eval: %j is %j', (answer, letter) => expect(lmmsEvalLetter(answer)).toBe(letter));

  const two = ['left', 'right'];
  test.each([
    ['B', two, 'B'],
    ['(A)', two, 'A'],
    ['It is on the left.', two, 'A'],
    // Both options are in it.
    ['left or right', two, 'Z'],
    // One letter, but not among the last four words; then the words of the option.
    ['A is what I would say here', two, 'Z'],
    ['The correct answer is **B**. It is to the left of it', two, 'B'],
    // Any word that begins with a letter of an option.
    ['the answer is blue', ['x1', 'y1'], 'B'],
    ['Cannot determine the answer', two, 'Z'],
    ['Z', two, 'Z'],
    ['Failed to obtain answer via API: left', two, 'Z'],
    ['The answer, in short and after a very long thought, would be the left one', two, 'Z'],
  ])('VLMEvalKit: %j is %j', (answer, options, letter) => expect(vlmEvalKitLetter(answer, options)).toBe(letter));
});

describe('texts as Python has them', () => {
  test('spaces', () => {
    expect(strip('\u00a0\u3000 a\u2003b\x1c\x85')).toBe('a\u2003b');
    // The byte order mark is a space to JavaScript only.
    expect(strip('\ufeffa')).toBe('\ufeffa');
    expect(words(' a\x1fb\u2028c\n')).toEqual(['a', 'b', 'c']);
  });

  test.each([
    ['1_000', 1000],
    [' .5 ', 0.5],
    ['5.', 5],
    ['-1e3', -1000],
    ['inf', Infinity],
    ['-Infinity', -Infinity],
    ['nan', NaN],
    ['1,000', undefined],
    ['5%', undefined],
    ['', undefined],
    ['0x10', undefined],
    ['1__0', undefined],
    ['_1', undefined],
    // Digits of any script: full width, Arabic, mathematical.
    ['１２．５', undefined],
    ['１２.５', 12.5],
    ['٣', 3],
    ['\u{1d7da}\u{1d7ff}', 29],
    ['²', undefined],
  ])('float(%j)', (text, value) => expect(pythonFloat(text)).toBe(value));

  test('five percent of the second', () => {
    expect(isNear('95', '100')).toBe(true);
    expect(isNear('100', '95')).toBe(false);
    expect([isNear('nan', 'nan'), isNear('inf', 'inf')]).toEqual([false, false]);
  });
});

describe('the soft accuracy of VQA', () => {
  test.each([
    ['The dont-know', "don't know"],
    ['Two dogs, a cat?', '2 dogs cat'],
    ["the man's hat", "man 's hat"],
    ['a/b', 'b'],
    ['3.5 m.', '3.5 m'],
    // A digit is one of any script.
    ['5.١٢ m.', '5.١٢ m'],
    ["couldntve couldn'tve", "couldntve couldn't've"],
    ["somebody'd", 'somebodyd'],
    // Only 32 full stops are taken away.
    [`x${'. '.repeat(34)}y`, `x . . y`],
  ])('%j becomes %j', (answer, normal) => expect(normalizeAnswer(answer)).toBe(normal));

  test('leaving each person out', () => {
    const people = ['red', 'red', 'blue', 'blue', 'blue', 'blue', 'x', 'y', 'z', 'w'];
    expect(vqaAccuracy('Red', people)).toBeCloseTo((2 * (1 / 3) + 8 * (2 / 3)) / 10, 12);
    expect(vqaAccuracy('blue', people)).toBe(1);
    expect(vqaAccuracy('green', people)).toBe(0);
  });

  test('never above 1, never less for more who agree', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 10 }), (agreeing) => {
        const people = (count: number) => Array.from({ length: 10 }, (_, i) => (i < count ? 'yes' : `other${i}`));
        const score = vqaAccuracy('yes', people(agreeing));
        expect(score).toBeLessThanOrEqual(1);
        if (agreeing > 0) expect(score).toBeGreaterThanOrEqual(vqaAccuracy('yes', people(agreeing - 1)));
      }),
    );
  });
});

test('ANLS: one half is enough, less is nothing', () => {
  expect(anls('abcd', ['abcf'])).toBe(0.75);
  expect(anls('abcd', ['zzzz', ' ABCD '])).toBe(1);
  expect(anls('ab', ['abcd'])).toBe(0.5);
  expect(anls('a', ['abcd'])).toBe(0);
});

test('forms', () => {
  expect(['(B)', 'b.', ' C ', 'A:'].every((answer) => isInForm(answer, 'letter', 3))).toBe(true);
  expect(['D', 'blue', 'The answer is A', ''].some((answer) => isInForm(answer, 'letter', 3))).toBe(false);
  expect([isInForm('Yes.', 'yes or no'), isInForm('Yes, it is', 'yes or no')]).toEqual([true, false]);
  expect([isInForm('a red ball', 'word or phrase'), isInForm('a\nb', 'word or phrase')]).toEqual([true, false]);
});
