// `opabinia data …`: a data set before a training: balanced, checked, its prompts looked at, made of pages with figures.
import type { Command } from 'commander';
import { OpabiniaError } from '../dsl/error.ts';
import { balance, printBalanced } from '../pipelines/data/balance.ts';
import { buildData, printBuilt } from '../pipelines/data/build/build-data.ts';
import { checkData, printDataReport } from '../pipelines/data/check-data.ts';
import { openInputs } from '../pipelines/data/data-inputs.ts';
import { checkPrompts, printPrompts } from '../pipelines/data/prompts.ts';
import { readMix, readShares } from '../pipelines/data/read-mix.ts';
import { openModel } from '../pipelines/answer/open-model.ts';
import { labelRulesOf } from '../pipelines/train/trainable-of.ts';
import { natural, refuseIdle, whole } from './options.ts';
import { checkOutput } from './output-file.ts';
import { rewrite, say, tell } from './output.ts';
import { plural } from '../dsl/text/plural.ts';

interface BalanceFlags {
  readonly cap?: string;
  readonly ratios?: string;
  readonly total?: string;
  readonly seed: string;
  readonly out?: string;
  readonly json?: true;
}

interface CheckFlags {
  readonly images?: string;
  readonly model?: string;
  readonly length: string;
  readonly limit?: string;
  readonly json?: true;
}

interface PromptsFlags {
  readonly images?: string;
  readonly by?: string;
  readonly out?: string;
  readonly json?: true;
}

interface BuildFlags {
  readonly topics: string;
  readonly pages: string;
  readonly images: string;
  readonly endpoint: string;
  readonly model: string;
  readonly out: string;
  readonly apiKeyEnv?: string;
  readonly show?: true;
  readonly pagesPerTopic: string;
  readonly concurrency: string;
  readonly limit?: string;
  readonly json?: true;
}

/** Adds the command to the program. */
export function addData(program: Command): void {
  const data = program.command('data').description('balance, check and make the data of a training');
  data
    .command('balance')
    .description('sources under a cap and in shares of categories: a table before and after, an index for recipes')
    .argument('<mix>', 'a JSON file: {"mixture": [{"file": …, "images": …, "category": …}, …]}')
    .option('--cap <count>', 'samples of each source at most; Cambrian-7M has 350000')
    .option(
      '--ratios <shares>',
      'General=34.5,OCR=27,…, a .json file of them, `best` or `cambrian7M` (Cambrian-1, §5.2)',
    )
    .option('--total <count>', 'samples in all; by default as many as the shares allow')
    .option('--seed <number>', 'which samples a source gives; the seed of the recipe', '0')
    .option('--out <file.safetensors>', 'write what is taken as an index: samples are not copied')
    .option('--json', 'print one JSON object')
    .action((mix: string, flags: BalanceFlags) => {
      checkOutput('--out', flags.out, { op: 'data', endings: ['.safetensors'], inputs: [mix] });
      const balanced = balance(readMix(mix), {
        cap: flags.cap === undefined ? undefined : whole('--cap', flags.cap),
        shares: flags.ratios === undefined ? undefined : readShares(flags.ratios),
        total: flags.total === undefined ? undefined : whole('--total', flags.total),
        seed: natural('--seed', flags.seed),
        out: flags.out,
      });
      say(flags.json === true ? JSON.stringify(balanced, null, 2) : printBalanced(balanced));
    });
  data
    .command('check')
    .description('every line, picture and label as a training would take them; exit code 1 where something is wrong')
    .argument('<data>', 'a file of LLaVA samples, a mixture (.json), or an index (.safetensors)')
    .option('--images <folder>', 'where the pictures of a file are; by default beside it')
    .option('--model <directory>', 'the model that is to learn: its tokenizer and template make the labels')
    .option('--length <count>', 'tokens of a sequence, as the recipe has it', '2048')
    .option('--limit <count>', 'samples of each source at most, drawn by seed')
    .option('--json', 'print one JSON object')
    .action(async (path: string, flags: CheckFlags, command: Command) => {
      if (flags.model === undefined)
        refuseIdle(command, ['length'], { where: 'without --model', advice: 'give --model DIR' });
      const length = whole('--length', flags.length);
      const limit = flags.limit === undefined ? undefined : whole('--limit', flags.limit);
      const opened = flags.model === undefined ? undefined : await openModel(flags.model);
      try {
        const rules = opened === undefined ? undefined : labelRulesOf(opened, length);
        const inputs = openInputs(path, flags.images);
        try {
          const report = await checkData(inputs, {
            rules,
            upright: opened?.upright,
            limit,
            progress: process.stderr.isTTY ? (done, of) => rewrite(`${done} of ${plural(of, 'sample')}`) : undefined,
          });
          if (process.stderr.isTTY) rewrite('');
          say(flags.json === true ? JSON.stringify(report, null, 2) : printDataReport(report));
          if (report.wrong > 0) process.exitCode = 1;
        } finally {
          for (const { file } of inputs) file.close();
        }
      } finally {
        opened?.close();
      }
    });
  data
    .command('prompts')
    .description(
      'sources with short answers that nobody asked for, and the same data with the sentences that ask; exit code 1 where there are such and no --out',
    )
    .argument('<data>', 'a file of LLaVA samples, or a mixture (.json)')
    .option('--images <folder>', 'where the pictures of a file are; by default beside it')
    .option('--by <field>', 'a field of each sample that names its source')
    .option('--out <folder>', 'write the fixed set: files that change, and mix.json')
    .option('--json', 'print one JSON object')
    .action((path: string, flags: PromptsFlags) => {
      const report = checkPrompts(path, flags);
      say(flags.json === true ? JSON.stringify(report, null, 2) : printPrompts(report));
      if (flags.out === undefined && report.sources.some(({ isMachine }) => isMachine)) {
        tell('--out FOLDER writes the set with the sentences');
        process.exitCode = 1;
      }
    });
  data
    .command('build')
    .description('samples made of topics: pages of a wiki, their figures, a question and answer each from an endpoint')
    .requiredOption('--topics <file>', 'one a line; or JSON: {"field": {"subfield": ["topic", …]}}, [] asks for topics')
    .requiredOption('--pages <dump>', 'a MediaWiki dump (.xml, .xml.bz2, .xml.gz), or a folder of wikitext')
    .requiredOption('--images <folder>', "the figures' files: nothing is fetched")
    .requiredOption(
      '--endpoint <url>',
      "whatever talks like OpenAI's, such as http://127.0.0.1:8000/v1 of `opabinia serve`",
    )
    .requiredOption('--model <name>', 'as the endpoint calls it')
    .requiredOption('--out <folder>', 'a folder of its own; the same command goes on there')
    .option('--api-key-env <name>', 'the environment variable that holds the key')
    .option('--show', 'send each figure with its question, for models that look for a picture')
    .option('--pages-per-topic <count>', 'pages that a topic means at most', '3')
    .option('--concurrency <count>', 'questions asked at once', '4')
    .option('--limit <count>', 'figures at most')
    .option('--json', 'print one JSON object')
    .action(async (flags: BuildFlags) => {
      const stop = new AbortController();
      process.on('SIGINT', () => {
        if (stop.signal.aborted) process.exit(130);
        stop.abort();
        tell('stopping; once more to end at once');
      });
      const built = await buildData({
        ...flags,
        endpoint: { url: flags.endpoint, model: flags.model, key: keyOf(flags.apiKeyEnv) },
        pagesPerTopic: whole('--pages-per-topic', flags.pagesPerTopic),
        concurrency: whole('--concurrency', flags.concurrency),
        limit: flags.limit === undefined ? undefined : whole('--limit', flags.limit),
        signal: stop.signal,
        print: (line) => tell(line),
      });
      say(flags.json === true ? JSON.stringify(built, null, 2) : printBuilt(built));
      if (built.set === undefined) process.exitCode = 130;
    });
}

function keyOf(name: string | undefined): string | undefined {
  if (name === undefined) return undefined;
  const key = process.env[name];
  if (key !== undefined && key !== '') return key;
  throw new OpabiniaError(`--api-key-env ${name}: there is no such variable`, {
    op: 'data',
    advice: `export ${name}=…`,
  });
}
