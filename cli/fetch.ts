// `opabinia fetch REPO[@rev]`: a repository of the Hugging Face hub into the standard cache.
import type { Command } from 'commander';
import { fetchModel } from '../runtime/checkpoint/fetch.ts';
import { interruptible } from './interruptible.ts';
import { progressLine } from './progress-line.ts';
import { say } from './output.ts';

/** Adds the command to the program. Ctrl-C stops it with exit code 130; the next call goes on. */
export function addFetch(program: Command): void {
  program
    .command('fetch')
    .description('fetch a model from the Hugging Face hub into the standard cache')
    .argument('<repo>', 'owner/name, or owner/name@revision')
    .option('--all', 'all files, not only those that a model is read from')
    .action(async (repo: string, { all }: { readonly all?: boolean }) => {
      const progress = progressLine(process.stderr);
      say(await interruptible((signal) => fetchModel(repo, { all, signal, progress })));
    });
}
