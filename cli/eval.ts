// `opabinia eval DIR --bench NAME:PATH`: a model judged by benchmarks on disk; `eval compare A B`, `eval study RESULTS…`.
import { Option, type Command } from 'commander';
import { OpabiniaError } from '../dsl/error.ts';
import { formatTable } from '../dsl/text/table.ts';
import { allBenchmarks } from '../pipelines/eval/benchmarks.ts';
import { compareRuns } from '../pipelines/eval/compare/compare-runs.ts';
import { printRunComparison } from '../pipelines/eval/compare/print-comparison.ts';
import { readRun } from '../pipelines/eval/compare/read-samples.ts';
import { evaluate, type BenchPath } from '../pipelines/eval/evaluate.ts';
import type { Blind } from '../pipelines/eval/ask/ask-questions.ts';
import { printResults } from '../pipelines/eval/report/print-results.ts';
import { evalProgress } from './eval-progress.ts';
import { addStudy } from './eval-study.ts';
import { deviceOption, openPlace, storageOn, type DeviceChoice } from './device-option.ts';
import { refuseAll, refuseOthers, several, whole } from './options.ts';
import { say, tell, tellError } from './output.ts';
import { connectorsOption, ownConnectors, type ConnectorsFlags } from './own-connectors.ts';
import { dtypeOption, keepOption, quantizeOption, weightsOption, type StorageFlags } from './weights-options.ts';
import { plural } from '../dsl/text/plural.ts';

interface EvalFlags extends ConnectorsFlags, StorageFlags {
  readonly bench: readonly string[];
  readonly out?: string | undefined;
  readonly limit?: string | undefined;
  readonly blind?: Blind | true | undefined;
  readonly batch: string;
  readonly maxNewTokens?: string | undefined;
  readonly context?: string | undefined;
  readonly system?: string | undefined;
  readonly images: readonly string[];
  readonly tower: readonly string[];
  readonly device: DeviceChoice;
  readonly json?: true | undefined;
  readonly list?: true | undefined;
}

/** Adds the command and its two subcommands to the program. */
export function addEval(program: Command): void {
  const command = program
    .command('eval')
    .description('judge a model directory by benchmarks; compare runs; study benchmarks')
    .argument('[model]', 'a Hugging Face directory, or owner/name in the cache')
    .option('--bench <name:path>', 'a benchmark and its file or folder; may be given several times', several, [])
    .option('--list', 'name all benchmarks, what they read, and end')
    .option('--out <folder>', 'of journal, results and samples; by default evals/MODEL')
    .option('--limit <count>', 'of each file the first so many questions')
    .addOption(
      new Option('--blind [how]', 'everything once more without pictures, or with gray ones where it must be').choices([
        'text',
        'gray',
      ]),
    )
    .option('--batch <count>', 'questions answered at once: a number, or auto', 'auto')
    .option('--max-new-tokens <count>', "tokens of an answer, if less than the benchmark's own")
    .option('--context <tokens>', 'tokens of prompt and answer together')
    .option('--system <text>', "instead of the template's own words")
    .option('--images <folder>', 'where pictures are that files name; may be given several times', several, [])
    .option(
      '--tower <directory>',
      'where the vision towers are, in the order of the config; of a model in GGUF its mmproj',
      several,
      [],
    )
    .addOption(dtypeOption('f32'))
    .addOption(weightsOption())
    .addOption(quantizeOption())
    .addOption(keepOption())
    .addOption(connectorsOption())
    .addOption(deviceOption())
    .option('--json', 'print results as JSON instead of tables')
    .action(async (model: string | undefined, flags: EvalFlags) => {
      if (flags.list !== true) return judge(model, flags);
      refuseOthers(command, ['list'], { where: 'with --list', advice: 'judge without --list' });
      return say(await listed());
    });
  command
    .command('compare')
    .description('two runs on the same questions: which differences are shown')
    .argument('<first>', 'a folder that eval wrote, or a file of samples')
    .argument('<second>', 'another')
    .action((first: string, second: string) => {
      refuseAll(command, ['json']);
      const found = compareRuns(readRun(first), readRun(second));
      // `--json` is the command's own, wherever it stands.
      say(command.opts()['json'] === true ? JSON.stringify(found) : printRunComparison(found));
    });
  addStudy(command);
}

async function judge(directory: string | undefined, flags: EvalFlags): Promise<void> {
  if (directory === undefined || flags.bench.length === 0)
    throw new OpabiniaError(directory === undefined ? 'no model is given' : 'no benchmark is given', {
      op: 'eval',
      advice: 'opabinia eval DIR --bench cv-bench:PATH; --list names the benchmarks',
    });
  const began = performance.now();
  const stopper = new AbortController();
  const stop = (): void => {
    stopper.abort();
    tell('interrupted: what was answered is kept; the same command goes on');
    // The device may be in the middle of a long run, which nothing can stop but the end of the process.
    process.exit(130);
  };
  const { result, out, submissions, warnings, asked } = await evaluate(directory, {
    ...storageOn(flags),
    place: () => openPlace(flags.device),
    towers: flags.tower.length === 0 ? undefined : flags.tower,
    connectors: await ownConnectors(flags),
    benches: flags.bench.map(benchPath),
    out: flags.out,
    limit: flags.limit === undefined ? undefined : whole('--limit', flags.limit),
    blind: flags.blind === true ? 'auto' : flags.blind,
    batch: flags.batch === 'auto' ? 'auto' : whole('--batch', flags.batch),
    maxNewTokens: flags.maxNewTokens === undefined ? undefined : whole('--max-new-tokens', flags.maxNewTokens),
    context: flags.context === undefined ? undefined : whole('--context', flags.context),
    system: flags.system,
    images: flags.images,
    stored: [flags.weights ?? '', ...(flags.quantize ?? []), ...(flags.keep ?? [])]
      .filter((word) => word !== '')
      .join(' '),
    signal: stopper.signal,
    note: (text) => tell(`[${((performance.now() - began) / 1000).toFixed(1).padStart(6)} s] ${text}`),
    compiled: () => void process.once('SIGINT', stop),
    progress: evalProgress(),
  });
  say(flags.json === true ? JSON.stringify(result) : printResults(result));
  for (const warning of warnings) tellError(warning);
  for (const { file, to } of submissions) tell(`${file} is for ${to}`);
  tell(`${plural(asked, 'question')} asked; results and samples are in ${out}`);
}

/** `cv-bench:PATH`; the path may have colons. */
function benchPath(text: string): BenchPath {
  const at = text.indexOf(':');
  if (at > 0 && at < text.length - 1) return { benchmark: text.slice(0, at), path: text.slice(at + 1) };
  throw new OpabiniaError(`--bench is '${text}'`, {
    op: 'eval',
    advice: 'give NAME:PATH, as in cv-bench:data/cv-bench',
  });
}

async function listed(): Promise<string> {
  const all = [...(await allBenchmarks()).values()];
  return formatTable(
    [{ title: 'name' }, { title: 'benchmark' }, { title: 'group' }, { title: 'the original reads' }],
    all.map(({ name, title, group, source }) => [name, title, group ?? '', source]),
  );
}
