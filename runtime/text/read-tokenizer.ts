// A tokenizer from its files, in the process that calls: the sandbox, for files of strangers.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { readJsonFile, readTextFile } from '../checkpoint/hub.ts';
import { leadsOut } from '../checkpoint/links.ts';
import { readRegular } from '../files/regular-file.ts';
import { sentencePieceJson } from './sentencepiece.ts';
import { withStatedTokens } from './tokenizer-json.ts';
import { Tokenizer } from './tokenizer.ts';

/** Bytes of a tokenizer's file. */
const fileLimit = 64 * 2 ** 20;
const templateLimit = 2 ** 20;

/** `tokenizer.json` or SentencePiece's `tokenizer.model`, with `tokenizer_config.json` where there is one. Throws `OpabiniaError`. */
export function readTokenizer(path: string, configPath?: string): Tokenizer {
  const config = configPath === undefined ? {} : readJsonFile(configPath);
  const directory = dirname(path);
  const beside = (name: string): string | undefined => {
    const file = join(directory, name);
    return existsSync(file) && !leadsOut(directory, file) ? file : undefined;
  };
  const template = ['chat_template.jinja', 'chat_template.json'].map(beside).find((file) => file !== undefined);
  const spelled = template === undefined ? '' : readTextFile(template, templateLimit);
  const listed = beside('added_tokens.json');
  const added = listed === undefined ? {} : readJsonFile(listed);
  if (!path.endsWith('.model'))
    return new Tokenizer(withStatedTokens(readJsonFile(path, fileLimit), config, added), config, path, spelled);
  const json = sentencePieceJson(readRegular(path, fileLimit, 'tokenizer'), config, added, path);
  return new Tokenizer(json, config, path, spelled);
}
