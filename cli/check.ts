// `opabinia check DIR`: what a model directory is, what would be read from where, what is wrong. Exit code 1 where `run` would fail.
import { Option, type Command } from 'commander';
import { deviceNamed, devices } from '../compiler/devices.ts';
import { checkModel } from '../pipelines/check/check-model.ts';
import { printChecked } from '../pipelines/check/print-checked.ts';
import { several, whole } from './options.ts';
import { say, tell } from './output.ts';

interface CheckFlags {
  readonly dtype: 'f32' | 'f16';
  readonly tower: readonly string[];
  readonly context?: string;
  readonly images?: string;
  readonly device: string;
  readonly json?: true;
}

/** Adds the command to the program. */
export function addCheck(program: Command): void {
  program
    .command('check')
    .description('say what a model directory is, and what is wrong with it, before anything is loaded')
    .argument('<model>', 'a model directory, or owner/name in the cache')
    .addOption(
      new Option('--dtype <dtype>', 'storage of weights and activations').choices(['f32', 'f16']).default('f32'),
    )
    .option('--tower <directory>', 'where the vision towers are, in the order of the config', several, [])
    .option('--context <tokens>', 'tokens of prompt and answer together; by default those of `run`')
    .option('--images <count>', 'pictures of one question; by default 1')
    .option('--device <name>', `memory is that of plans for one of ${Object.keys(devices).join(', ')}`, 'desktop')
    .option('--json', 'print one JSON object')
    .action(async (model: string, flags: CheckFlags) => {
      const checked = await checkModel(model, {
        dtype: flags.dtype,
        towers: flags.tower.length === 0 ? undefined : flags.tower,
        context: flags.context === undefined ? undefined : whole('--context', flags.context),
        images: flags.images === undefined ? undefined : whole('--images', flags.images),
        profile: deviceNamed(flags.device).profile,
        note: tell,
      });
      say(flags.json === true ? JSON.stringify(checked, null, 2) : printChecked(checked));
      if (!checked.ok) process.exitCode = 1;
    });
}
