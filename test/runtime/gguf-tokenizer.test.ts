// Byte BPE in GGUF: how `tokenizer.ggml.pre` has texts cut, by the patterns of the models' own tokenizer.json.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { readGgufTokenizer } from '../../runtime/gguf/gguf-tokenizer.ts';
import type { Tokenizer } from '../../runtime/text/tokenizer.ts';
import { ggufBytes, type GgufSetting } from '../support/write-gguf.ts';

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

// ---- SentencePiece ---------------------------------------------------------------------------------------------------

/** `pieces` behind the unknown, the two around a text and the 256 bytes; of a later one the score is worse. */
async function sentencePiece(
  pieces: readonly (readonly [text: string, type: number])[],
  more: Readonly<Record<string, GgufSetting>> = {},
): Promise<{ readonly tokenizer: Tokenizer; readonly idOf: (text: string) => number }> {
  const bytes = Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`);
  const tokens = ['<unk>', '<s>', '</s>', ...bytes, ...pieces.map(([text]) => text)];
  const path = join(folder, 'pieces.gguf');
  const settings = {
    'general.architecture': 'llama',
    'tokenizer.ggml.model': 'llama',
    'tokenizer.ggml.tokens': tokens,
    'tokenizer.ggml.token_type': [2, 3, 3, ...bytes.map(() => 6), ...pieces.map(([, type]) => type)],
    'tokenizer.ggml.scores': tokens.map((_, id) => 0.5 - id),
    'tokenizer.ggml.bos_token_id': 1,
    'tokenizer.ggml.eos_token_id': 2,
    ...more,
  };
  writeFileSync(path, ggufBytes(settings, []));
  return { tokenizer: await readGgufTokenizer(path), idOf: (text) => tokens.indexOf(text) };
}

test('pieces that begin with a byte order mark are others than those without', async () => {
  const texts = ['▁', '\ufeff', '\ufeffu', 'u', 'a', '▁a'];
  const { tokenizer, idOf } = await sentencePiece(texts.map((text) => [text, 1] as const));
  const ids = tokenizer.encode([{ kind: 'user', text: 'a\ufeffua\ufeff' }], { automatic: false });
  expect(ids).toEqual(['▁a', '\ufeffu', 'a', '\ufeff'].map(idOf));
  expect(tokenizer.decode(ids)).toBe('a\ufeffua\ufeff');
});

test.each([
  ['phi3', ['<|user|>', '▁a', '<|end|>', '▁a', '<|endoftext|>', '▁', '<0x0A>', 'a']],
  ['llama', ['<|user|>', '▁', '<0x0A>', 'a', '<|end|>', '▁', '▁a', '<|endoftext|>', '▁', '<0x0A>', 'a']],
])('%s: what stands behind a control token', async (architecture, wanted) => {
  const { tokenizer, idOf } = await sentencePiece(
    [
      ['▁', 1],
      ['a', 1],
      ['▁a', 1],
      ['<|user|>', 3],
      ['<|end|>', 3],
      ['<|endoftext|>', 3],
    ],
    { 'general.architecture': architecture },
  );
  const ids = tokenizer.encode([{ kind: 'control', text: '<|user|>\na<|end|> a<|endoftext|>\na' }], {
    automatic: false,
  });
  expect(ids).toEqual(wanted.map(idOf));
});
