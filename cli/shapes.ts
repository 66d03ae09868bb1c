// `opabinia shapes …`: the drawn task of the comparisons by training: its data card, and its encoders.
import { Option, type Command } from 'commander';
import { openDevice } from '../runtime/device/dawn.ts';
import { shippedEncoders } from '../pipelines/shapes/encoders/open-encoders.ts';
import { trainEncoders } from '../pipelines/shapes/encoders/train-encoders.ts';
import { dataCard } from '../pipelines/shapes/scene/card.ts';
import { presetNames, type PresetName } from '../pipelines/shapes/scene/scene.ts';
import { whole } from './options.ts';
import { say, tell } from './output.ts';
import { checkFolder } from '../runtime/files/make-folder.ts';

interface EncoderFlags {
  readonly preset: PresetName;
  readonly out: string;
  readonly runs: string;
  readonly steps: string;
  readonly batch: string;
  readonly seed: string;
}

export function addShapes(program: Command): void {
  const shapes = program.command('shapes').description('the drawn task that `compare --train shapes` is judged on');
  const preset = () =>
    new Option('--preset <name>', 'S: 64 pixels, M: 128, L: 256 with words').choices([...presetNames]).default('S');
  shapes
    .command('card')
    .description('what the scenes are made of, and the hash that tells that they are the same everywhere')
    .addOption(preset())
    .action((flags: { readonly preset: PresetName }) => say(dataCard(flags.preset)));
  shapes
    .command('encoders')
    .description('train the two encoders of a preset; goes on where it stopped')
    .addOption(preset())
    .option('--out <folder>', 'where their directories are written', shippedEncoders())
    .option('--runs <folder>', 'where the run is', 'runs')
    .option('--steps <count>', 'steps', '1000')
    .option('--batch <count>', 'pictures of a step', '32')
    .option('--seed <number>', 'of the first weights', '1')
    .action(async (flags: EncoderFlags) => {
      checkFolder(flags.out, 'shapes');
      checkFolder(flags.runs, 'shapes');
      let stops = false;
      process.on('SIGINT', () => {
        if (stops) process.exit(130);
        stops = true;
        tell('finishing the step and saving; once more to end at once');
      });
      const device = await openDevice({ compileAhead: true });
      try {
        await trainEncoders({
          preset: flags.preset,
          device,
          root: flags.runs,
          out: flags.out,
          seed: whole('--seed', flags.seed),
          steps: whole('--steps', flags.steps),
          batch: whole('--batch', flags.batch),
          stopped: () => stops,
          print: (line) => say(line),
        });
        if (stops) process.exitCode = 130;
      } finally {
        device.close();
      }
    });
}
