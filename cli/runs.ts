// `opabinia runs [NAME…]`: the runs of a folder, and in what they differ; with `--out`, what one has learned as a model directory.
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { OpabiniaError } from '../dsl/error.ts';
import { nameAdvice } from '../dsl/text/near-names.ts';
import { listRuns, printRuns } from '../pipelines/train/list-runs.ts';
import { writeTrained } from '../pipelines/train/learned/write-trained.ts';
import { interruptible } from './interruptible.ts';
import { say, tell } from './output.ts';

interface RunsFlags {
  readonly runs: string;
  readonly out?: string;
  readonly dtype?: 'f32' | 'f16';
  readonly ema?: true;
}

/** Adds the command to the program. */
export function addRuns(program: Command): void {
  program
    .command('runs')
    .description('list and compare trainings')
    .argument('[names...]', 'some of them; by default all')
    .option('--runs <folder>', 'where they are', 'runs')
    .option('--out <directory>', 'write what the one run named has learned, as a model directory')
    .addOption(
      new Option('--dtype <dtype>', 'of the weights in --out; by default that of the model it began with').choices([
        'f32',
        'f16',
      ]),
    )
    .option(
      '--ema',
      'in --out, the moving averages that the last stage kept (`ema` of its recipe), not its last weights',
    )
    .action(async (names: readonly string[], flags: RunsFlags) => {
      const all = listRuns(flags.runs);
      const missing = names.find((name) => !all.some((run) => run.name === name));
      if (missing !== undefined)
        throw new OpabiniaError(`there is no run '${missing}' in ${flags.runs}`, {
          op: 'runs',
          advice: nameAdvice(
            missing,
            all.map((run) => run.name),
          ),
        });
      const [only] = names;
      const { out, dtype, ema } = flags;
      if (out === undefined && ema === true)
        throw new OpabiniaError('--ema is of what --out writes', { op: 'runs', advice: 'give --out DIR' });
      if (out !== undefined) {
        if (only === undefined || names.length > 1)
          throw new OpabiniaError(`--out is given with ${names.length} runs`, { op: 'runs', advice: 'name one run' });
        const { tensors, learned, stages, averages } = await interruptible((signal) =>
          writeTrained(join(flags.runs, only), { out, dtype, ema, signal, note: (text) => tell(text) }),
        );
        const kept =
          averages === undefined
            ? ''
            : `; those of stage ${averages.stage} are averages, at a decay of ${averages.decay}`;
        const count = stages === 1 ? 'one stage' : `${stages} stages`;
        say(`${out}: ${learned} of ${tensors} tensors learned in ${count}${kept}`);
        return;
      }
      const chosen = names.length === 0 ? all : all.filter((run) => names.includes(run.name));
      say(chosen.length === 0 ? `there are no runs in ${flags.runs}` : printRuns(chosen));
    });
}
