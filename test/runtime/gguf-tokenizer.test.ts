// Byte BPE in GGUF: how `tokenizer.ggml.pre` has texts cut, by the patterns of the models' own tokenizer.json.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { readGgufTokenizer } from '../../runtime/gguf/gguf-tokenizer.ts';
import { ggufBytes } from '../support/write-gguf.ts';

const folder = mkdtempSync(join(tmpdir(), 'opabinia-gguf-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** A merge shows that its two characters stood in one piece. */
async function pieces(pre: string, text: string): Promise<readonly (string | undefined)[]> {
  const merges = ['b C', '3 4', '1 2', "x '", '! /', 'Ġ Ġ'];
  const tokens = [..."abcdCDx's!/1234Ġ\u00c3\u00a9eÌ\u0123", ...merges.map((pair) => pair.replace(' ', ''))];
  const path = join(folder, `${pre}.gguf`);
  const settings = {
    'general.architecture': 'llama',
    'tokenizer.ggml.model': 'gpt2',
    'tokenizer.ggml.pre': pre,
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.merges': merges,
  };
  writeFileSync(path, ggufBytes(settings, []));
  const tokenizer = await readGgufTokenizer(path);
  return tokenizer.encode([{ kind: 'user', text }], { automatic: false }).map((id) => tokens[id]);
}

test.each([
  ['llama-bpe', ['a', 'bC', 'D', '12', '3', '4']],
  ['dbrx', ['a', 'bC', 'D', '12', '3', '4']],
  ['tekken', ['a', 'b', 'C', 'D', '1', '2', '3', '4']],
  ['gpt-4o', ['a', 'b', 'C', 'D', '12', '3', '4']],
  ['gpt-2', ['a', 'bC', 'D', '12', '34']],
  ['phi-2', ['a', 'bC', 'D', '12', '34']],
  ['qwen2', ['a', 'bC', 'D', '1', '2', '3', '4']],
])('%s: capitals and numbers', async (pre, wanted) => {
  expect(await pieces(pre, 'abCD1234')).toEqual(wanted);
});

test('what stands behind a word, and a slash behind marks', async () => {
  expect(await pieces('gpt-4o', "x's")).toEqual(["x'", 's']);
  expect(await pieces('tekken', "x's")).toEqual(['x', "'", 's']);
  expect(await pieces('dbrx', "x's")).toEqual(['x', "'", 's']);
  expect(await pieces('gpt-4o', '!/')).toEqual(['!/']);
});

test("Qwen's texts are composed, as its tokenizer.json has it", async () => {
  expect(await pieces('qwen2', 'e\u0301')).toEqual(['Ã', '©']);
  expect(await pieces('llama-bpe', 'e\u0301')).toEqual(['e', 'Ì', 'ģ']);
});
