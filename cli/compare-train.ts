// `opabinia compare --train shapes`: what connectors learn under one budget, beside the controls.
import { Option, type Command } from 'commander';
import { OpabiniaError } from '../dsl/error.ts';
import type { AnyConnector } from '../models/connectors/connector.ts';
import { listed, type Listed } from '../pipelines/compare/registry.ts';
import { trainedHtml } from '../pipelines/shapes/report/html.ts';
import { trainedSvg } from '../pipelines/shapes/report/plot-trained.ts';
import { printTrained, trainedCsv, trainedJson } from '../pipelines/shapes/report/print-trained.ts';
import { writeDrawing } from '../pipelines/plot/write-drawing.ts';
import { presetNames, type PresetName } from '../pipelines/shapes/scene/scene.ts';
import { compareTrained } from '../pipelines/shapes/train/compare-trained.ts';
import { averagePooling, plainResampler } from '../pipelines/shapes/variants/controls.ts';
import { readGrid } from '../pipelines/shapes/variants/grid.ts';
import { openDevice } from '../runtime/device/dawn.ts';
import type { Device } from '../runtime/device/device.ts';
import { writeFileAtomic } from '../runtime/files/atomic-file.ts';
import { commandLine } from './command-line.ts';
import { refuseIdle, whole } from './options.ts';
import { say, tell } from './output.ts';
import { checkFolder } from '../runtime/files/make-folder.ts';

export interface TrainFlags {
  readonly train?: 'shapes';
  readonly seeds: string;
  readonly preset: PresetName;
  readonly steps?: string;
  readonly minutes?: string;
  readonly grid: readonly string[];
  readonly report?: string;
  readonly runs: string;
  readonly shapesEncoders?: string;
  readonly tokens?: string;
  readonly plot?: string;
  readonly json?: true;
  readonly csv?: true;
}

/** Options that one way of comparing reads and the other does not. */
const ofTraining = ['seeds', 'preset', 'steps', 'minutes', 'grid', 'report', 'runs', 'shapesEncoders'];
const ofCosts = ['encoders', 'llm', 'device', 'dtype', 'document'];

/** Throws `OpabiniaError` for an option of the other way. */
export function checkMeant(command: Command): void {
  if (command.opts<TrainFlags>().train === undefined)
    refuseIdle(command, ofTraining, { where: 'without --train', advice: 'give --train shapes' });
  else refuseIdle(command, ofCosts, { where: 'where connectors are trained', advice: 'compare costs without --train' });
}

export function trainFlags(command: Command): Command {
  return command
    .addOption(
      new Option(
        '--train <task>',
        'train each and compare what it learns, beside blind, average-pooling, resampler and oracle',
      ).choices(['shapes']),
    )
    .option('--seeds <count>', 'with --train: each variant with so many seeds', '3')
    .addOption(
      new Option('--preset <name>', 'with --train: S (minutes), M, L (hours on a GPU)')
        .choices([...presetNames])
        .default('S'),
    )
    .option('--steps <count>', "with --train: the budget of a variant; by default the preset's")
    .option('--minutes <count>', 'with --train: the budget of a variant in minutes of training on this machine')
    .option(
      '--grid <setting=values>',
      'with --train: variants such as D=1,2,3 (depth), G=1,2 (groups), inside=0,1, encoders=1,2; several make all combinations',
      (value: string, all: readonly string[]) => [...all, value],
      [],
    )
    .option('--report <file>', 'with --train: one .html file with curves, tables, pictures and answers')
    .option('--runs <folder>', 'with --train: where runs are kept; the same command goes on there', 'runs/shapes')
    .option('--shapes-encoders <folder>', 'with --train: encoders of your own making');
}

export async function compareByTraining(names: readonly string[], flags: TrainFlags): Promise<void> {
  if (flags.steps !== undefined && flags.minutes !== undefined)
    throw new OpabiniaError('--steps and --minutes are both a budget', { op: 'compare', advice: 'give one of them' });
  checkFolder(flags.runs, 'compare');
  const controls = new Set(['blind', 'oracle', averagePooling.name, plainResampler.name]);
  const asked = names.filter((name) => !controls.has(name));
  const wanted = asked.length === 0 && names.length > 0 ? [] : await listed(asked.length === 0 ? ['sva'] : asked);
  const written = { op: 'compare', inputs: names };
  let stops = false;
  process.on('SIGINT', () => {
    if (stops) process.exit(130);
    stops = true;
    tell('finishing the step and saving; once more to end at once');
  });
  let device: Device | undefined;
  try {
    const comparison = await compareTrained(connectorsOf(wanted), {
      preset: flags.preset,
      tokens: flags.tokens === undefined ? 16 : whole('--tokens', flags.tokens),
      seeds: whole('--seeds', flags.seeds),
      steps: flags.steps === undefined ? undefined : whole('--steps', flags.steps),
      minutes: flags.minutes === undefined ? undefined : whole('--minutes', flags.minutes),
      grid: readGrid(flags.grid),
      own: connectorsOf(wanted.filter(({ family }) => names.includes(family))),
      root: `${flags.runs}/${flags.preset}-${flags.tokens ?? '16'}`,
      encoders: flags.shapesEncoders,
      device: async () => (device ??= await openDevice({ compileAhead: true })),
      stopped: () => stops,
      print: (line) => tell(line),
    });
    if (flags.plot !== undefined) await writeDrawing(flags.plot, trainedSvg(comparison), written);
    if (flags.report !== undefined)
      writeFileAtomic(flags.report, await trainedHtml(comparison, commandLine(process.argv.slice(2))), written);
    if (flags.json === true) say(JSON.stringify(trainedJson(comparison), null, 2));
    else say(flags.csv === true ? trainedCsv(comparison) : printTrained(comparison));
    if (!comparison.complete) process.exitCode = 130;
    else if (comparison.failed.length > 0) process.exitCode = 1;
  } finally {
    device?.close();
  }
}

const connectorsOf = (all: readonly Listed[]): readonly AnyConnector[] => all.map(({ connector }) => connector);
