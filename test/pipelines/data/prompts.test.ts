// The answer machine: what is short, what asks for it, which sources are reported, and a fixed set that is right and changes nothing else.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import {
  answerKind,
  asksHow,
  formatsOf,
  missingSentence,
  publishedFormats,
} from '../../../pipelines/data/answer-machine.ts';
import { checkPrompts, printPrompts } from '../../../pipelines/data/prompts.ts';
import { readMix } from '../../../pipelines/data/read-mix.ts';
import { responseFormats as sentences } from '../../../pipelines/train/data/response-formats.ts';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-prompts-'));
afterAll(() => rmSync(folder, { recursive: true }));

test.each([
  ['B', 'letter'],
  ['(c)', 'phrase'],
  ['(C)', 'letter'],
  ['3,200', 'number'],
  ['-4.5 %', 'number'],
  ['Unanswerable', 'unanswerable'],
  ['<no answer>', 'no answer'],
  ['two red buses', 'phrase'],
  ['It is a bus.', 'long'],
  ['A red bus stands in front of the station', 'long'],
] as const)('%s is %s', (answer, kind) => expect(answerKind(answer)).toBe(kind));

test('questions that say how to answer', () => {
  for (const sentence of Object.values(sentences)) expect(asksHow(`What?\n${sentence}`)).toBe(true);
  expect(asksHow('How many? Please answer briefly.')).toBe(true);
  for (const question of ['What is the short answer?', 'Is it a single word?'])
    expect([question, asksHow(question)]).toEqual([question, true]);
  for (const question of [
    'What does the sign say?',
    'Which letter is on the bus?',
    'Describe the photograph in detail.',
  ])
    expect([question, asksHow(question)]).toEqual([question, false]);
});

describe('sentences', () => {
  const none = { letter: 0, number: 0, unanswerable: 0, 'no answer': 0, phrase: 0, long: 0 };
  test('of published sources, by their names', () => {
    expect(publishedFormats('data/chartqa_train.jsonl')).toEqual(['number']);
    expect(publishedFormats('Inter-GPS')).toEqual(['letter']);
    expect(publishedFormats('0-docvqa.json')).toEqual(['short']);
    expect(publishedFormats('infographics.jsonl')).toBeUndefined();
    expect(missingSentence('What?', '14', ['number'])).toBe(sentences.number);
    expect(missingSentence('What?', 'red', publishedFormats('ScreenQA') ?? [])).toBe(
      `${sentences.noAnswer} ${sentences.phrase}`,
    );
    expect(missingSentence('Good?', 'B', publishedFormats('Q-Instruct') ?? [])).toBe(sentences.option);
    expect(missingSentence('Good?', 'good', publishedFormats('Q-Instruct') ?? [])).toBe(sentences.phrase);
    expect(missingSentence('Solve it.', 'A long way to the answer, step by step.', ['reasoning'])).toBe(
      sentences.reasoning,
    );
  });

  test('of others, by what their answers are', () => {
    expect(formatsOf('x', { ...none, number: 5, phrase: 2 })[0]).toBe('number');
    expect(formatsOf('x', { ...none, number: 2, phrase: 5 })[0]).toBe('phrase');
    expect(formatsOf('x', { ...none, phrase: 5, unanswerable: 1 })[0]).toBe('unanswerable');
    const formats = formatsOf('x', { ...none, letter: 5 });
    expect(missingSentence('Which?\nA. one\nB. two', 'A', formats)).toBe(sentences.option);
    expect(missingSentence('Which letter?', 'A', formats)).toBe(sentences.letter);
    expect(missingSentence('Why?', 'Because it rained for days and days.', formats)).toBeUndefined();
    expect(missingSentence(`What?\n${sentences.phrase}`, 'red', formats)).toBeUndefined();
  });
});

const line = (...said: readonly (readonly [string, string])[]) =>
  JSON.stringify({
    id: 'kept',
    image: 'a.png',
    conversations: said.flatMap(([q, a]) => [
      { from: 'human', value: q },
      { from: 'gpt', value: a },
    ]),
  });
const write = (name: string, ...lines: readonly string[]): string => {
  writeFileSync(join(folder, name), `${lines.join('\n')}\n`);
  return join(folder, name);
};

describe('a mixture', () => {
  write('short.jsonl', line(['<image>\nColor?', 'red'], ['Why is it so?', 'Because somebody painted it last year.']));
  write('asked.jsonl', line([`<image>\nColor?\n${sentences.phrase}`, 'red']));
  write('long.jsonl', line(['<image>\nTell.', 'A long story about a bus and a street.']));
  write('formatted.jsonl', line(['<image>\nColor?', 'red']));
  const mix = write(
    'mix.json',
    JSON.stringify({
      mixture: [
        { file: 'short.jsonl', category: 'General' },
        { file: 'asked.jsonl' },
        { file: 'long.jsonl' },
        { file: 'formatted.jsonl', format: 'phrase' },
      ],
      cap: 7,
    }),
  );

  test('is reported by source', () => {
    const { sources } = checkPrompts(mix);
    expect(sources.map(({ questions, short, unasked, isMachine }) => [questions, short, unasked, isMachine])).toEqual([
      [2, 1, 1, true],
      [1, 1, 0, false],
      [1, 0, 0, false],
      [1, 1, 0, false],
    ]);
    expect(printPrompts({ sources, out: undefined })).toMatch(/✗ short\.jsonl: 1 of 2 questions/);
  });

  test('is fixed: the question that lacks a sentence has it, everything else is as it was', () => {
    const out = join(folder, 'fixed');
    checkPrompts(mix, { out });
    const fixed = readMix(join(out, 'mix.json'));
    expect(fixed.cap).toBe(7);
    expect(fixed.sources.map(({ file }) => file)).toEqual([
      join(out, '0-short.jsonl'),
      ...['asked', 'long', 'formatted'].map((name) => join(folder, `${name}.jsonl`)),
    ]);
    expect(fixed.sources.map(({ images, format }) => [images, format])).toEqual([
      ...Array(3).fill([folder, undefined]),
      [folder, sentences.phrase],
    ]);
    const before = JSON.parse(readFileSync(join(folder, 'short.jsonl'), 'utf8')) as {
      conversations: { value: string }[];
    };
    const first = before.conversations[0];
    if (first !== undefined) first.value += `\n${sentences.phrase}`;
    expect(JSON.parse(readFileSync(join(out, '0-short.jsonl'), 'utf8'))).toEqual(before);
    const again = checkPrompts(join(out, 'mix.json'));
    expect(again.sources.some(({ isMachine }) => isMachine)).toBe(false);
    expect(() => checkPrompts(mix, { out })).toThrow(/exists/);
  });

  test('a field tells sources apart; a wrong line is told and nothing written', () => {
    const many = write(
      'many.jsonl',
      ...['ChartQA', 'stories'].map((source) =>
        JSON.stringify({
          source,
          conversations: [
            { from: 'gpt', value: 'dropped' },
            { from: 'human', value: 'How much?' },
            { from: 'gpt', value: source === 'ChartQA' ? '12' : 'A great deal more than I can say.' },
          ],
        }),
      ),
    );
    const out = join(folder, 'many');
    const { sources } = checkPrompts(many, { by: 'source', out });
    expect(sources.map(({ name, missing }) => [name, missing])).toEqual([
      ['ChartQA', 1],
      ['stories', 0],
    ]);
    const values = readFileSync(join(out, '0-many.jsonl'), 'utf8')
      .trim()
      .split('\n')
      .map((text) =>
        (JSON.parse(text) as { conversations: { value: string }[] }).conversations.map(({ value }) => value),
      );
    expect(values).toEqual([
      ['dropped', `How much?\n${sentences.number}`, '12'],
      ['dropped', 'How much?', 'A great deal more than I can say.'],
    ]);
    const broken = write('broken.jsonl', line(['A?', 'b']), '{"conversations": 3}');
    expect(() => checkPrompts(broken, { out: join(folder, 'never') })).toThrow(/line 2, field 'conversations'/);
    expect(existsSync(join(folder, 'never'))).toBe(false);
  });
});
