// `opabinia compare`: connectors side by side on the same encoders and language model, without weights and without a GPU; with --train, by what they learn.
import { writeFileSync } from 'node:fs';
import { Option, type Command } from 'commander';
import sharp from 'sharp';
import { deviceNamed, devices } from '../compiler/devices.ts';
import { OpabiniaError } from '../dsl/error.ts';
import { compareConnectors } from '../pipelines/compare/compare.ts';
import { cambrianEncoders, encodersNamed } from '../pipelines/compare/encoders.ts';
import { connectorsPage } from '../pipelines/compare/print/document.ts';
import { languageModelNamed } from '../pipelines/compare/language-models.ts';
import { comparisonSvg } from '../pipelines/compare/print/plot.ts';
import { comparisonCsv, comparisonJson, printComparison } from '../pipelines/compare/print/print-comparison.ts';
import { listed } from '../pipelines/compare/registry.ts';
import { whole } from './options.ts';
import { say } from './output.ts';
import { compareByTraining, trainFlags, type TrainFlags } from './compare-train.ts';

interface Flags extends TrainFlags {
  readonly encoders: string;
  readonly llm: string;
  readonly device: string;
  readonly dtype: 'f32' | 'f16';
  readonly tokens?: string;
  readonly json?: true;
  readonly csv?: true;
  readonly plot?: string;
  readonly document?: string;
}

export function addCompare(program: Command): void {
  const command = program
    .command('compare')
    .description('what connectors cost before anything runs: tokens, parameters, arithmetic, memory, prefill')
    .argument('[connectors...]', 'names of the zoo, or files of your own (./mine.ts); all of the zoo when left out')
    .option('--encoders <names>', 'in order, with commas', cambrianEncoders.map(({ name }) => name).join(','))
    .option('--llm <name>', 'the language model that reads the tokens', 'llama-3-8b')
    .option('--tokens <count>', "turn each connector's own knobs towards this number of visual tokens")
    .option('--device <name>', `${Object.keys(devices).join(', ')}`, 'h100')
    .addOption(
      new Option('--dtype <dtype>', 'storage of weights and activations').choices(['f32', 'f16']).default('f16'),
    )
    .option('--json', 'print the figures as JSON')
    .option('--csv', 'print the figures as CSV')
    .option('--plot <file>', 'draw tokens against FLOP into an .svg or .png file')
    .option('--document <file>', 'write a page instead: of each what it computes, what its tokens see, what it costs');
  trainFlags(command).action(async (names: readonly string[], flags: Flags) => {
    checkPlot(flags.plot);
    if (flags.train !== undefined) {
      await compareByTraining(names, flags);
      return;
    }
    if (flags.document !== undefined) {
      writeFileSync(flags.document, connectorsPage(await listed(names)));
      return;
    }
    const options = {
      encoders: encodersNamed(flags.encoders.split(',').filter((name) => name !== '')),
      model: languageModelNamed(flags.llm),
      profile: deviceNamed(flags.device).profile,
      dtype: flags.dtype,
      tokens: flags.tokens === undefined ? undefined : whole('--tokens', flags.tokens),
      question: 64,
    };
    const comparison = await compareConnectors(await listed(names), options);
    const [first] = comparison.refused;
    // One that is asked for and cannot be compared is an error; among many it is a line below the table.
    if (comparison.rows.length === 0 && first !== undefined) throw first.reason;
    if (flags.plot !== undefined) await draw(flags.plot, comparisonSvg(comparison));
    if (flags.json === true) say(JSON.stringify(comparisonJson(comparison), null, 2));
    else say(flags.csv === true ? comparisonCsv(comparison) : printComparison(comparison));
  });
}

function checkPlot(file: string | undefined): void {
  if (file !== undefined && !/\.(svg|png)$/.test(file))
    throw new OpabiniaError(`--plot is '${file}'`, { op: 'compare', advice: 'a file that ends in .svg or .png' });
}

async function draw(file: string, svg: string): Promise<void> {
  if (file.endsWith('.svg')) writeFileSync(file, svg);
  else {
    // Pictures of strangers may not be SVG, and loaders are blocked for the whole process: this one is our own.
    sharp.unblock({ operation: ['VipsForeignLoadSvgBuffer'] });
    await sharp(Buffer.from(svg)).png().toFile(file);
  }
}
