// What is typed wrong: said in a line, with a line about where to read on; no option is taken and then ignored.
import { spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { commandLine } from '../../cli/command-line.ts';
import { shorterContext } from '../../pipelines/answer/session-plans.ts';

const root = join(import.meta.dirname, '../..');

function opabinia(...args: readonly string[]): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, [join(root, 'cli/opabinia.ts'), ...args], { encoding: 'utf8', timeout: 60_000 });
}

test.each<[readonly string[], string]>([
  [
    ['compare', '--sede', '1'],
    "error: unknown option '--sede'\n(Did you mean --seeds?)\nsee opabinia compare --help\n",
  ],
  [['quantize', 'made'], "error: required option '--out <directory>' not specified\nsee opabinia quantize --help\n"],
  [['data', 'check'], "error: missing required argument 'data'\nsee opabinia data check --help\n"],
  [['nothing'], "error: unknown command 'nothing'\nsee opabinia --help\n"],
  [
    ['compare', 'llava', '--json', '--csv'],
    "error: option '--json' cannot be used with option '--csv'\nsee opabinia compare --help\n",
  ],
  [
    ['compare', 'llava', '--seeds', '3'],
    'opabinia: compare: --seeds says nothing without --train\n  try give --train shapes, or leave it out\n',
  ],
  [
    ['compare', 'llava', '--train', 'shapes', '--llm', 'yi-34b'],
    'opabinia: compare: --llm says nothing where connectors are trained\n  try compare costs without --train, or leave it out\n',
  ],
  [
    ['probe', '--towers', 'shapes:0', '--batch', '2'],
    'opabinia: probe: --batch says nothing without --data\n  try give --data, or leave it out\n',
  ],
  [['draw', '--seed', '-1'], "opabinia: --seed is '-1'\n  try give a whole number above 0\n"],
])('%j', (args, message) => {
  const { status, stdout, stderr } = opabinia(...args);
  expect(stderr).toBe(message);
  expect([status, stdout]).toEqual([1, '']);
});

test('--version', () => {
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { readonly version: string };
  const { status, stdout } = opabinia('--version');
  expect([status, stdout]).toEqual([0, `${version}\n`]);
});

test('a command line can be typed again', () => {
  expect(commandLine(['compare', './mine.ts', '--report', 'my report.html', '--grid', "D=1 it's"])).toBe(
    `opabinia compare ./mine.ts --report 'my report.html' --grid 'D=1 it'\\''s'`,
  );
});

test('a context that is longer than the model knows is said to be shorter', () => {
  const model = { language: { config: { maxPositions: 1024 } } } as unknown as Parameters<typeof shorterContext>[0];
  expect(shorterContext(model, 999_999)).toBe(
    'a context of 999999 tokens is asked for, and the model has 1024 positions: it is 1024',
  );
  expect(shorterContext(model, 1024)).toBeUndefined();
  expect(shorterContext(model, undefined)).toBeUndefined();
});
