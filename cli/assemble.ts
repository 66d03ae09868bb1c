// `opabinia assemble --tower DIR --connector NAME --llm DIR --out DIR`: parts that were made apart as one directory.
import type { Command } from 'commander';
import { assemble } from '../pipelines/assemble/assemble.ts';
import { interruptible } from './interruptible.ts';
import { several, whole } from './options.ts';
import { say, tell } from './output.ts';
import { plural } from '../dsl/text/plural.ts';

interface AssembleFlags {
  readonly tower: readonly string[];
  readonly connector: string;
  readonly llm: string;
  readonly out: string;
  readonly tokens?: string;
  readonly seed: string;
  readonly json?: true;
}

/** Adds the command to the program. Ctrl-C leaves nothing of what was begun. */
export function addAssemble(program: Command): void {
  program
    .command('assemble')
    .description(
      'put towers, a fresh connector and a language model together: a directory that run, check, plan and train take',
    )
    .requiredOption(
      '--tower <directory>',
      'a vision tower; may be given several times, in the order of the connector',
      several,
      [],
    )
    .requiredOption(
      '--connector <name>',
      'sva, mlp2x, linear, a connector that `compare` lists, or a file of your own: ./mine.ts, ./mine.ts#name',
    )
    .requiredOption('--llm <directory>', 'a language model by itself, a directory or a .gguf file')
    .requiredOption('--out <directory>', 'what is written; it must not exist')
    .option('--tokens <count>', 'visual tokens of a picture, as near as the connector comes')
    .option('--seed <number>', "of the connector's weights", '1')
    .option('--json', 'print one JSON object')
    .action(async (flags: AssembleFlags) => {
      const options = {
        towers: flags.tower,
        connector: flags.connector,
        language: flags.llm,
        out: flags.out,
        tokens: flags.tokens === undefined ? undefined : whole('--tokens', flags.tokens),
        seed: whole('--seed', flags.seed),
        note: tell,
      };
      const made = await interruptible((signal) => assemble({ ...options, signal }));
      if (flags.json === true) {
        say(JSON.stringify(made, null, 2));
        return;
      }
      say(`${made.directory}: ${made.modelType} with ${made.connector}, ${plural(made.tokens, 'token')} a picture`);
      for (const note of made.notes) say(`  · ${note}`);
    });
}
