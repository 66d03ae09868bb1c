// `opabinia runs [NAME…]`: the runs of a folder, and in what they differ.
import type { Command } from 'commander';
import { nearestNames, OpabiniaError } from '../dsl/error.ts';
import { listRuns, printRuns } from '../pipelines/train/list-runs.ts';
import { say } from './output.ts';

/** Adds the command to the program. */
export function addRuns(program: Command): void {
  program
    .command('runs')
    .description('list and compare trainings')
    .argument('[names...]', 'some of them; by default all')
    .option('--runs <folder>', 'where they are', 'runs')
    .action((names: readonly string[], flags: { readonly runs: string }) => {
      const all = listRuns(flags.runs);
      const missing = names.find((name) => !all.some((run) => run.name === name));
      if (missing !== undefined)
        throw new OpabiniaError(`there is no run '${missing}' in ${flags.runs}`, {
          op: 'runs',
          advice: `the nearest are ${
            nearestNames(
              missing,
              all.map((run) => run.name),
            ).join(', ') || 'none: the folder has no runs'
          }`,
        });
      const chosen = names.length === 0 ? all : all.filter((run) => names.includes(run.name));
      say(chosen.length === 0 ? `there are no runs in ${flags.runs}` : printRuns(chosen));
    });
}
