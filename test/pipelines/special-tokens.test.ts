// What a chat template's bos_token and eos_token are: by tokenizer_config.json, special_tokens_map.json, and the class of the tokenizer.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { specialTokens } from '../../pipelines/answer/templates.ts';
import { modelFiles } from '../../runtime/checkpoint/hub.ts';

function tokensOf(files: Readonly<Record<string, object>>): object {
  const directory = mkdtempSync(join(tmpdir(), 'opabinia-special-'));
  try {
    for (const [name, json] of Object.entries(files)) writeFileSync(join(directory, name), JSON.stringify(json));
    return specialTokens(modelFiles(directory));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test('what tokenizer_config.json leaves out stands in special_tokens_map.json', () => {
  expect(
    tokensOf({
      'tokenizer_config.json': { eos_token: '<|im_end|>' },
      'special_tokens_map.json': { bos_token: { content: '<s>', lstrip: false }, eos_token: '</s>' },
    }),
  ).toEqual({ bos_token: '<s>', eos_token: '<|im_end|>' });
});

test('what both leave out is what the class calls it; null is none', () => {
  expect(tokensOf({ 'tokenizer_config.json': { tokenizer_class: 'LlamaTokenizerFast', eos_token: '<e>' } })).toEqual({
    bos_token: '<s>',
    eos_token: '<e>',
    unk_token: '<unk>',
  });
  expect(
    tokensOf({ 'tokenizer_config.json': { tokenizer_class: 'Qwen2Tokenizer', bos_token: null, pad_token: null } }),
  ).toEqual({ eos_token: '<|endoftext|>' });
  expect(tokensOf({ 'tokenizer_config.json': { tokenizer_class: 'PreTrainedTokenizerFast' } })).toEqual({});
});
