// The journal: what is kept, what is refused.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { JournalError } from '../../../pipelines/eval/errors.ts';
import { Journal, type JournalKey } from '../../../pipelines/eval/journal.ts';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-journal-'));
afterAll(() => rmSync(folder, { recursive: true }));

const model = { texts: 'a', weights: 'b', storage: 'f32' };
const key: JournalKey = { benchmark: 'pope', how: 'sighted', question: 'test.parquet#3', digest: 'd' };
const kept = { text: 'Yes\n', tokens: 2, reason: 'end', picture: 'p', failure: '' };

test('answers stay, each once', () => {
  const path = join(folder, 'one/journal.sqlite');
  const first = Journal.open(path, model);
  expect(first.find(key)).toBeUndefined();
  first.keep(key, kept);
  expect(() => first.keep(key, kept)).toThrow(/UNIQUE/);
  first.keep({ ...key, how: 'text' }, { ...kept, text: 'No' });
  first.close();
  const second = Journal.open(path, model);
  expect(second.find(key)).toEqual(kept);
  expect(second.find({ ...key, how: 'text' })?.text).toBe('No');
  second.close();
});

test('of another model', () => {
  const path = join(folder, 'two.sqlite');
  Journal.open(path, model).close();
  const open = (): Journal => Journal.open(path, { ...model, weights: 'other' });
  expect(open).toThrow(JournalError);
  expect(open).toThrow(/is the journal of another model: weights was b and is other/);
});

test('of another question in the same place', () => {
  const journal = Journal.open(join(folder, 'three.sqlite'), model);
  journal.keep(key, kept);
  expect(() => journal.find({ ...key, digest: 'e' })).toThrow(/holds another question for pope test\.parquet#3/);
  journal.close();
});

test('that another process writes, or that is not a journal', () => {
  const path = join(folder, 'four.sqlite');
  const first = Journal.open(path, model);
  first.keep(key, kept);
  expect(() => Journal.open(path, model)).toThrow(/is being written by another process/);
  first.close();
  const other = join(folder, 'five.sqlite');
  writeFileSync(
    other,
    'certainly not a database, and long enough to be taken for a header of one hundred bytes or more. '.repeat(3),
  );
  expect(() => Journal.open(other, model)).toThrow(/is not a journal/);
});
