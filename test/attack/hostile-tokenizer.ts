// A tokenizer whose normaliser has a regular expression that does not end on a text of many letters a. With arguments, an own process
// that opens it in the sandbox, says so, and gives it such a text: DIRECTORY.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeTokenizer } from '../../examples/made/vocabulary.ts';
import { modelFiles } from '../../runtime/checkpoint/hub.ts';
import { openTokenizer } from '../../runtime/text/open-tokenizer.ts';

export const endless = `${'a'.repeat(60)}!`;

export function writeHostileTokenizer(directory: string): void {
  const { json, config } = makeTokenizer(672);
  const normalizer = { type: 'Replace', pattern: { Regex: '^(a+)+$' }, content: 'x' };
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'tokenizer.json'), JSON.stringify({ ...json, normalizer }));
  writeFileSync(join(directory, 'tokenizer_config.json'), JSON.stringify(config));
}

const [, file, directory] = process.argv;
if (directory !== undefined && file === import.meta.filename) {
  const tokenizer = await openTokenizer(modelFiles(directory));
  const answer = tokenizer.encode([{ kind: 'user', text: endless }]);
  setTimeout(() => console.log('asked'), 300);
  await answer;
}
