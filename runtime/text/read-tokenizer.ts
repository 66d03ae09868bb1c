// A tokenizer from its files, in the process that calls: the sandbox, for files of strangers.
import { readJsonFile } from '../checkpoint/hub.ts';
import { Tokenizer } from './tokenizer.ts';

/** Bytes of a tokenizer's file. */
const fileLimit = 64 * 2 ** 20;

/** `tokenizer.json`, with `tokenizer_config.json` where there is one. Throws `OpabiniaError`. */
export function readTokenizer(path: string, configPath?: string): Tokenizer {
  return new Tokenizer(readJsonFile(path, fileLimit), configPath === undefined ? {} : readJsonFile(configPath), path);
}
