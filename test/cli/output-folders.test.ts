// Folders that commands write into: what cannot be one is refused before anything is opened, read or asked, and nothing of it stays.
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { writeTrained } from '../../pipelines/train/learned/write-trained.ts';
import { checkFolder, makeFolder } from '../../runtime/files/make-folder.ts';
import { failure } from '../support/command-failure.ts';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-folders-'));
const root = join(import.meta.dirname, '../..');
const at = (name: string): string => join(folder, name);
const linux = process.platform === 'linux';
beforeAll(() => {
  writeFileSync(at('file'), '');
  writeFileSync(
    at('lines.jsonl'),
    '{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}\n',
  );
});
afterAll(() => rmSync(folder, { recursive: true }));

/** Before the folder; what is named and is not there would be missed next. */
const commands: readonly (readonly [string, string])[] = [
  ['eval study', `eval study ${root}/examples/study/cambrian-1-sight.csv --out`],
  ['eval', 'eval missing --bench cv-bench:missing --out'],
  ['assemble', 'assemble --tower missing --connector linear --llm missing --out'],
  ['quantize', 'quantize missing --out'],
  ['data prompts', `data prompts ${folder}/lines.jsonl --out`],
  ['data build', 'data build --topics missing --pages missing --images missing --endpoint http://x/v1 --model m --out'],
  ['shapes encoders', 'shapes encoders --out'],
  ['shapes encoders --runs', `shapes encoders --out ${folder} --runs`],
  ['train --runs', `train ${root}/examples/shapes/recipe.ts --runs`],
  ['probe --runs', 'probe --towers missing --runs'],
  ['compare --runs', 'compare --train shapes --runs'],
  ['new', 'new'],
];

test.each(commands)('%s', async (_name, words) => {
  const refused = async (place: string, message: RegExp): Promise<void> => {
    expect(await failure([...words.split(' '), place])).toMatch(message);
    expect(existsSync(place) && place !== at('file')).toBe(false);
  };
  await refused(at('file'), /is a file|exists/);
  await refused(at('file/below'), /file|there is no directory/);
  // Node's own way of making folders never comes back from there.
  if (linux) await refused('/proc/x', /nothing can be written to \/proc\/x/);
  expect(readdirSync(folder).toSorted()).toEqual(['file', 'lines.jsonl']);
});

test('export and runs', async () => {
  const out = linux ? '/proc/x.onnx' : at('file/x.onnx');
  expect(await failure(['export', 'missing', '--onnx', out])).toMatch(/nothing can be written to|no directory/);
  await expect(writeTrained(at('missing'), { out: linux ? '/proc/x' : at('file/x') })).rejects.toThrow(
    /nothing can be written to|is a file/,
  );
});

test('a folder and those above it are made, one that is there stays as it is, what cannot be made is told', () => {
  checkFolder(at('a/b/c'), 'test');
  expect(existsSync(at('a'))).toBe(false);
  makeFolder(at('a/b/c'));
  writeFileSync(at('a/b/c/kept'), '');
  makeFolder(at('a/b/c'));
  checkFolder(at('a/b/c'), 'test');
  expect(readdirSync(at('a/b/c'))).toEqual(['kept']);
  expect(() => makeFolder(at('file'))).toThrow(/EEXIST/);
  expect(() => makeFolder(at('file/x'))).toThrow(/ENOTDIR/);
  if (linux) expect(() => makeFolder('/proc/x/y')).toThrow(/ENOENT/);
});
