// `opabinia runs [NAME…]`: the runs of a folder, and in what they differ; with `--out`, what one has learned as a model directory.
import { join } from 'node:path';
import { Option, type Command } from 'commander';
import { OpabiniaError } from '../dsl/error.ts';
import { nameAdvice } from '../dsl/text/near-names.ts';
import { listRuns, printRuns } from '../pipelines/train/list-runs.ts';
import { writeAdapter, type WrittenAdapter } from '../pipelines/train/learned/write-adapter.ts';
import { writeTrained, type TrainedModel } from '../pipelines/train/learned/write-trained.ts';
import { interruptible } from './interruptible.ts';
import { say, tell } from './output.ts';
import { plural } from '../dsl/text/plural.ts';

interface RunsFlags {
  readonly runs: string;
  readonly out?: string;
  readonly dtype?: 'f32' | 'f16';
  readonly ema?: true;
  readonly adapter?: true;
  readonly base?: string;
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
      new Option(
        '--dtype <dtype>',
        'of the weights in --out; by default that of the model it began with, and f32 in --adapter',
      ).choices(['f32', 'f16']),
    )
    .option(
      '--ema',
      'in --out, the moving averages that the last stage kept (`ema` of its recipe), not its last weights',
    )
    .option('--adapter', 'in --out, what LoRA added to the language model alone, in the format of PEFT')
    .option(
      '--base <name>',
      'in --adapter, the language model as transformers finds it; by default the model of the recipe',
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
      const { out, dtype, ema, adapter, base } = flags;
      const idle = Object.entries({ ema, adapter, dtype }).find(
        ([, given]) => out === undefined && given !== undefined,
      );
      if (idle !== undefined)
        throw new OpabiniaError(`--${idle[0]} is of what --out writes`, { op: 'runs', advice: 'give --out DIR' });
      if (base !== undefined && adapter !== true)
        throw new OpabiniaError('--base is the model that an adapter is for', { op: 'runs', advice: 'give --adapter' });
      if (out !== undefined) {
        if (only === undefined || names.length > 1)
          throw new OpabiniaError(`--out is given with ${names.length} runs`, { op: 'runs', advice: 'name one run' });
        const run = join(flags.runs, only);
        const lines = await interruptible(async (signal) => {
          const wanted = { out, dtype, ema, signal, note: (text: string) => tell(text) };
          return adapter === true
            ? adapterLines(out, await writeAdapter(run, { ...wanted, base }), base)
            : [modelLine(out, await writeTrained(run, wanted))];
        });
        for (const line of lines) say(line);
        return;
      }
      const chosen = names.length === 0 ? all : all.filter((run) => names.includes(run.name));
      say(chosen.length === 0 ? `there are no runs in ${flags.runs}` : printRuns(chosen));
    });
}

function modelLine(out: string, { tensors, learned, ...of }: TrainedModel): string {
  return `${out}: ${learned} of ${plural(tensors, 'tensor')} learned in ${stagesOf(of)}`;
}

function stagesOf({ stages, averages }: Pick<TrainedModel, 'stages' | 'averages'>): string {
  const count = stages === 1 ? 'one stage' : `${stages} stages`;
  return averages === undefined
    ? count
    : `${count}; those of stage ${averages.stage} are averages, at a decay of ${averages.decay}`;
}

function adapterLines(out: string, written: WrittenAdapter, given: string | undefined): readonly string[] {
  const { matrices, ranks, left } = written;
  const rank = `${ranks.length === 1 ? 'rank' : 'ranks'} ${ranks.join(', ')}`;
  const lines = [
    `${out}: an adapter of ${plural(matrices, 'matrix', 'matrices')}, ${rank}, for ${written.base}, of ${stagesOf(written)}`,
  ];
  if (given === undefined)
    lines.push('  transformers opens the language model alone: with --base NAME the adapter says which that is');
  if (left.size > 0)
    lines.push(
      `  not in it, though it learned: ${[...left].map(([of, count]) => `${of} (${count})`).join(', ')}; an adapter is LoRA of the language model, and without --adapter all is written`,
    );
  return lines;
}
