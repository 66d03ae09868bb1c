// A tokenizer from its files, in the process that calls: the sandbox, for files of strangers.
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { readJsonFile } from '../checkpoint/hub.ts';
import { leadsOut } from '../checkpoint/links.ts';
import { readRegular } from '../files/regular-file.ts';
import { sentencePieceJson } from './sentencepiece.ts';
import { Tokenizer } from './tokenizer.ts';

/** Bytes of a tokenizer's file. */
const fileLimit = 64 * 2 ** 20;

/** `tokenizer.json` or SentencePiece's `tokenizer.model`, with `tokenizer_config.json` where there is one. Throws `OpabiniaError`. */
export function readTokenizer(path: string, configPath?: string): Tokenizer {
  const config = configPath === undefined ? {} : readJsonFile(configPath);
  if (!path.endsWith('.model')) return new Tokenizer(readJsonFile(path, fileLimit), config, path);
  const directory = dirname(path);
  const listed = join(directory, 'added_tokens.json');
  const added = existsSync(listed) && !leadsOut(directory, listed) ? readJsonFile(listed) : {};
  return new Tokenizer(sentencePieceJson(readRegular(path, fileLimit, 'tokenizer'), config, added, path), config, path);
}
