// `opabinia probe --towers …`: encoders compared as representations, by what one connector and one decoder learn from each.
import { Option, type Command } from 'commander';
import { OpabiniaError } from '../dsl/error.ts';
import { listed } from '../pipelines/compare/registry.ts';
import { probeOwn } from '../pipelines/probe/own-probe.ts';
import { printProbed, probedJson, type Setting } from '../pipelines/probe/probed.ts';
import { probeShapes } from '../pipelines/probe/shapes-probe.ts';
import { readEntries } from '../pipelines/probe/towers.ts';
import { presetNames, type PresetName } from '../pipelines/shapes/scene/scene.ts';
import { openDevice } from '../runtime/device/dawn.ts';
import type { Device } from '../runtime/device/device.ts';
import { refuseIdle, whole } from './options.ts';
import { say, tell } from './output.ts';
import { checkFolder } from '../runtime/files/make-folder.ts';

interface ProbeFlags {
  readonly towers: string;
  readonly data?: string;
  readonly llm?: string;
  readonly connector?: string;
  readonly tokens?: string;
  readonly train: string;
  readonly stages: string;
  readonly seeds: string;
  readonly steps?: string;
  readonly batch: string;
  readonly rate: string;
  readonly length: string;
  readonly answerTokens: string;
  readonly preset: PresetName;
  readonly shapesEncoders?: string;
  readonly runs: string;
  readonly json?: true;
}

/** Adds the command to the program. Ctrl-C finishes the step and saves; the same command goes on. */
export function addProbe(program: Command): void {
  program
    .command('probe')
    .description('vision towers compared by what one connector and one decoder learn from each, with intervals')
    .requiredOption(
      '--towers <names>',
      'with commas: shapes:0, shapes:1, directories; several for one row with a plus, such as shapes:0+shapes:1',
    )
    .option('--data <folder>', 'LLaVA samples of your own (train.jsonl, held.jsonl, images/) instead of drawn scenes')
    .option('--llm <directory>', 'with --data: the language model')
    .option('--connector <name>', 'one for all; by default channels side by side and an MLP (with --data: mlp2x)')
    .option('--tokens <count>', 'visual tokens; 16 on the scenes')
    .option('--train <kinds>', 'frozen, unfrozen, or both with a comma', 'frozen')
    .option('--stages <counts>', '1, 2, or both with a comma: the connector by itself first, or all at once', '1')
    .option('--seeds <count>', 'each row with so many seeds', '3')
    .option('--steps <count>', "the budget of a row; by default the preset's, with --data 200")
    .option('--batch <count>', 'with --data: samples of a step', '8')
    .option('--rate <number>', 'with --data: learning rate', '1e-3')
    .option('--length <count>', 'with --data: tokens of a sequence', '512')
    .option('--answer-tokens <count>', 'with --data: tokens of an answer at most', '16')
    .addOption(new Option('--preset <name>', 'of the scenes').choices([...presetNames]).default('S'))
    .option('--shapes-encoders <folder>', 'encoders of the shapes of your own making')
    .option('--runs <folder>', 'where runs are kept; the same command goes on there', 'runs/probe')
    .option('--json', 'print one JSON object')
    .action(async (flags: ProbeFlags, command: Command) => {
      if (flags.data === undefined)
        refuseIdle(command, ['llm', 'batch', 'rate', 'length', 'answerTokens'], {
          where: 'without --data',
          advice: 'give --data',
        });
      else if (!/(?:^|[,+])\s*shapes:/.test(flags.towers))
        refuseIdle(command, ['preset', 'shapesEncoders'], {
          where: 'where neither scenes nor their encoders are used',
          advice: 'name shapes:0 among the towers',
        });
      checkFolder(flags.runs, 'probe');
      let stops = false;
      process.on('SIGINT', () => {
        if (stops) process.exit(130);
        stops = true;
        tell('finishing the step and saving; once more to end at once');
      });
      let device: Device | undefined;
      const common = {
        settings: settingsOf(flags),
        seeds: whole('--seeds', flags.seeds),
        device: async () => (device ??= await openDevice({ compileAhead: true })),
        stopped: () => stops,
        print: (line: string) => tell(line),
      };
      const tokens = flags.tokens === undefined ? undefined : whole('--tokens', flags.tokens);
      const steps = flags.steps === undefined ? undefined : whole('--steps', flags.steps);
      const entries = readEntries(flags.towers, flags.preset, flags.shapesEncoders);
      try {
        const probed =
          flags.data === undefined
            ? await probeShapes(entries, {
                ...common,
                preset: flags.preset,
                connector: flags.connector === undefined ? undefined : (await listed([flags.connector]))[0]?.connector,
                tokens: tokens ?? 16,
                steps,
                root: `${flags.runs}/shapes-${flags.preset}`,
              })
            : await probeOwn(entries, {
                ...common,
                data: flags.data,
                language: languageOf(flags),
                connector: flags.connector,
                tokens,
                steps: steps ?? 200,
                batch: whole('--batch', flags.batch),
                rate: rateOf(flags.rate),
                length: whole('--length', flags.length),
                answerTokens: whole('--answer-tokens', flags.answerTokens),
                root: `${flags.runs}/own`,
              });
        say(flags.json === true ? JSON.stringify(probedJson(probed), null, 2) : printProbed(probed));
        if (!probed.complete) process.exitCode = 130;
        else if (probed.failed.length > 0) process.exitCode = 1;
      } finally {
        device?.close();
      }
    });
}

function languageOf({ llm }: ProbeFlags): string {
  if (llm !== undefined) return llm;
  throw new OpabiniaError('--data needs a language model', { op: 'probe', advice: 'give --llm DIR' });
}

function rateOf(text: string): number {
  const rate = Number(text);
  if (text.trim() !== '' && rate > 0 && Number.isFinite(rate)) return rate;
  throw new OpabiniaError(`--rate is '${text}'`, { op: 'probe', advice: 'give a number above 0, such as 1e-3' });
}

/** Every kind of training in every number of stages. */
function settingsOf({ train, stages }: ProbeFlags): readonly Setting[] {
  const parts = (option: string, text: string, known: readonly string[]): readonly string[] => {
    const given = [...new Set(text.split(',').map((part) => part.trim()))];
    const wrong = given.find((part) => !known.includes(part));
    if (wrong !== undefined)
      throw new OpabiniaError(`${option} is '${text}'`, { op: 'probe', advice: `give ${known.join(', ')}, or both` });
    return given;
  };
  const counts = parts('--stages', stages, ['1', '2']);
  return parts('--train', train, ['frozen', 'unfrozen']).flatMap((kind) =>
    counts.map((count): Setting => ({ frozen: kind === 'frozen', stages: count === '2' ? 2 : 1 })),
  );
}
