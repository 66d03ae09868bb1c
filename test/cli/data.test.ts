// `opabinia data prompts` as a person runs it: what the exit code says of a set that makes an answer machine, and of one that is mended.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-data-'));
afterAll(() => rmSync(folder, { recursive: true }));

test('1 where short answers are not asked for; 0 where a set is written in which they are, and for that set', () => {
  const conversations = [
    { from: 'human', value: 'What color?' },
    { from: 'gpt', value: 'red' },
  ];
  const lines = ['1', '2', '3'].map((id) => JSON.stringify({ id, conversations }));
  writeFileSync(join(folder, 'colors.jsonl'), lines.join('\n'));
  const prompts = (...args: readonly string[]) =>
    spawnSync(process.execPath, [join(import.meta.dirname, '../../cli/opabinia.ts'), 'data', 'prompts', ...args], {
      cwd: folder,
      encoding: 'utf8',
      timeout: 60_000,
    });
  expect(prompts('colors.jsonl')).toMatchObject({
    status: 1,
    stderr: '--out FOLDER writes the set with the sentences\n',
  });
  const fixed = prompts('colors.jsonl', '--out', 'fixed');
  expect([fixed.status, fixed.stderr]).toEqual([0, '']);
  expect(fixed.stdout).toMatch(/written: fixed\/mix\.json, in which they ask for it\n$/);
  expect(prompts('fixed/mix.json').status).toBe(0);
});
