// `opabinia eval study RESULTS…`: benchmarks about benchmarks, from our own results or from CSV.
import { join } from 'node:path';
import type { Command } from 'commander';
import { plotsOf } from '../pipelines/eval/study/plots.ts';
import { printStudy, studyJson } from '../pipelines/eval/study/print-study.ts';
import { sightOf } from '../pipelines/eval/study/sight.ts';
import { structureOf } from '../pipelines/eval/study/structure.ts';
import { readStudy } from '../pipelines/eval/study/study-table.ts';
import { writeFileAtomic } from '../runtime/files/atomic-file.ts';
import { refuseAll, whole } from './options.ts';
import { say, tell } from './output.ts';
import { makeFolder, checkFolder } from '../runtime/files/make-folder.ts';

interface StudyFlags {
  readonly out?: string | undefined;
  readonly clusters?: string | undefined;
  readonly json?: true | undefined;
}

/** Adds the subcommand. */
export function addStudy(command: Command): void {
  command
    .command('study')
    .description('what pictures are worth in each benchmark, and which benchmarks go together')
    .argument('<results...>', 'folders that eval wrote, or CSV files')
    .option('--out <folder>', 'where sight.svg and structure.svg are written; by default nowhere')
    .option('--clusters <count>', 'by default as many as there are groups')
    .action((results: readonly string[], _: StudyFlags, self: Command) => {
      refuseAll(command, ['out', 'json']);
      // `--out` and `--json` are also options of the command above, which takes them wherever they stand.
      const flags = self.optsWithGlobals<StudyFlags>();
      const clusters = flags.clusters === undefined ? undefined : whole('--clusters', flags.clusters);
      if (flags.out !== undefined) checkFolder(flags.out, 'eval study');
      const table = readStudy(results);
      const [sights, structure] = [sightOf(table), structureOf(table, { clusters })];
      say(flags.json === true ? JSON.stringify(studyJson(sights, structure)) : printStudy(sights, structure));
      if (flags.out === undefined) return;
      makeFolder(flags.out);
      for (const { name, svg } of plotsOf(sights, structure)) {
        writeFileAtomic(join(flags.out, name), svg, { op: 'eval study' });
        tell(`${join(flags.out, name)} is written`);
      }
    });
}
