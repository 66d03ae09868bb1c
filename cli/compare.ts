// `opabinia compare`: connectors side by side on the same encoders and language model, without weights and without a GPU; with --train, by what they learn.
import { Option, type Command } from 'commander';
import { deviceNamed, devices } from '../compiler/devices.ts';
import { compareConnectors } from '../pipelines/compare/compare.ts';
import { cambrianEncoders, encodersNamed } from '../pipelines/compare/encoders.ts';
import { connectorsPage } from '../pipelines/compare/print/document.ts';
import { languageModelNamed } from '../pipelines/compare/language-models.ts';
import { comparisonSvg } from '../pipelines/compare/print/plot.ts';
import { comparisonCsv, comparisonJson, printComparison } from '../pipelines/compare/print/print-comparison.ts';
import { listed } from '../pipelines/compare/registry.ts';
import { writeDrawing } from '../pipelines/plot/write-drawing.ts';
import { writeFileAtomic } from '../runtime/files/atomic-file.ts';
import { refuseIdle, whole } from './options.ts';
import { checkOutput } from './output-file.ts';
import { say } from './output.ts';
import { checkMeant, compareByTraining, trainFlags, type TrainFlags } from './compare-train.ts';

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
    .addOption(new Option('--json', 'print the figures as JSON').conflicts('csv'))
    .option('--csv', 'print the figures as CSV')
    .option('--plot <file>', 'draw tokens against FLOP into an .svg or .png file')
    .addOption(
      new Option(
        '--document <file>',
        'write a page (.md) instead: of each what it computes, what its tokens see, what it costs',
      ).conflicts(['json', 'csv', 'plot']),
    );
  trainFlags(command).action(async (names: readonly string[], flags: Flags) => {
    checkMeant(command);
    if (flags.document !== undefined)
      refuseIdle(command, ['encoders', 'llm', 'tokens', 'device', 'dtype'], {
        where: 'on the page that --document writes',
        advice: 'its figures are those of the released configurations; compare without --document',
      });
    // What a connector's file imports is an input too, which nobody lists: the endings keep results away from sources.
    const written = { op: 'compare', inputs: names };
    checkOutput('--plot', flags.plot, { ...written, endings: ['.svg', '.png'] });
    checkOutput('--document', flags.document, { ...written, endings: ['.md'] });
    checkOutput('--report', flags.report, { ...written, endings: ['.html'] });
    if (flags.train !== undefined) {
      await compareByTraining(names, flags);
      return;
    }
    if (flags.document !== undefined) {
      writeFileAtomic(flags.document, connectorsPage(await listed(names)), written);
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
    if (flags.plot !== undefined) await writeDrawing(flags.plot, comparisonSvg(comparison), written);
    if (flags.json === true) say(JSON.stringify(comparisonJson(comparison), null, 2));
    else say(flags.csv === true ? comparisonCsv(comparison) : printComparison(comparison));
  });
}
