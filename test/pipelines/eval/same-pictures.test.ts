// A journal goes on only with the pictures that its answers are about; one that was missing and is there now is asked about.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import sharp from 'sharp';
import { afterAll, expect, test } from 'vitest';
import type { Answering } from '../../../pipelines/answer/rows/asking.ts';
import { askQuestions, tasksOf } from '../../../pipelines/eval/ask/ask-questions.ts';
import { PictureDecoder } from '../../../pipelines/eval/ask/decoder.ts';
import { openTasks } from '../../../pipelines/eval/ask/same-pictures.ts';
import { llava } from '../../../pipelines/eval/benchmarks/llava.ts';
import { Journal } from '../../../pipelines/eval/journal.ts';
import { readQuestions } from '../../../pipelines/eval/read/questions.ts';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-same-pictures-'));
const decoder = new PictureDecoder(false);
afterAll(async () => {
  await decoder.close();
  rmSync(folder, { recursive: true });
});

const answering: Answering = {
  async *ask() {
    yield 'red';
    return { text: 'red', tokens: [1], reason: 'end' as const, promptTokens: 9 };
  },
};
const picture = (background: string): Promise<Buffer> =>
  sharp({ create: { width: 4, height: 4, channels: 3, background } })
    .png()
    .toBuffer();

test('a journal and the pictures of its questions', async () => {
  const file = join(folder, 'questions.jsonl');
  const write = (names: readonly string[]): void =>
    writeFileSync(
      file,
      names.map((image, i) => `${JSON.stringify({ question_id: i, text: 'What color?', image })}\n`).join(''),
    );
  write(['a.png', 'b.png', 'broken.png']);
  const [red, blue] = [await picture('#f00'), await picture('#00f')];
  writeFileSync(join(folder, 'a.png'), red);
  writeFileSync(join(folder, 'broken.png'), 'no picture');
  const journal = Journal.open(join(folder, 'journal.sqlite'), {});
  const open = async () => openTasks(tasksOf([await readQuestions(llava, file)], { blind: 'gray' }), journal);
  const keys = async (): Promise<readonly string[]> =>
    (await open()).map(({ key: { how, question } }) => `${how} ${question.split('#')[1] ?? ''}`);
  const ask = async (): Promise<void> => askQuestions(await open(), answering, journal, decoder, { rows: 1 });
  try {
    expect(await keys()).toEqual(['sighted 0', 'sighted 1', 'sighted 2', 'gray 0', 'gray 1', 'gray 2']);
    await ask();
    // What does not decode stays as it is; what is missing may come.
    expect(await keys()).toEqual([]);
    writeFileSync(join(folder, 'b.png'), blue);
    await ask();
    const tasks = tasksOf([await readQuestions(llava, file)], {});
    expect(tasks.map(({ key }) => journal.find(key)?.text)).toEqual(['red', 'red', '']);
    expect(await keys()).toEqual([]);
    // Other bytes under the name, and another name in the row.
    writeFileSync(join(folder, 'a.png'), blue);
    await expect(open()).rejects.toThrow(
      /llava questions\.jsonl#0 is about another picture than stands there now: a\.png/,
    );
    writeFileSync(join(folder, 'a.png'), red);
    write(['a.png', 'a.png', 'broken.png']);
    await expect(open()).rejects.toThrow(/questions\.jsonl#1 is about another picture than stands there now/);
    rmSync(join(folder, 'a.png'));
    await expect(open()).rejects.toThrow(/is about another picture than can be read now/);
  } finally {
    journal.close();
  }
});
