// `opabinia check DIR`: what a model directory is, what would be read from where, what is wrong. Exit code 1 where `run` would fail.
import type { Command } from 'commander';
import { deviceNamed, devices } from '../compiler/devices.ts';
import { checkModel } from '../pipelines/check/check-model.ts';
import { deviceAtHand } from '../pipelines/check/device-at-hand.ts';
import { printChecked } from '../pipelines/check/print-checked.ts';
import { several, whole } from './options.ts';
import { say, tell } from './output.ts';
import { connectorsOption, ownConnectors, type ConnectorsFlags } from './own-connectors.ts';
import {
  dtypeOption,
  keepOption,
  quantizeOption,
  storageOf,
  weightsOption,
  type StorageFlags,
} from './weights-options.ts';

interface CheckFlags extends ConnectorsFlags, StorageFlags {
  readonly tower: readonly string[];
  readonly context?: string;
  readonly images?: string;
  readonly device?: string;
  readonly json?: true;
}

/** Adds the command to the program. */
export function addCheck(program: Command): void {
  program
    .command('check')
    .description('say what a model directory is, and what is wrong with it, before anything is loaded')
    .argument('<model>', 'a model directory, a .gguf file, or owner/name in the cache')
    .addOption(dtypeOption('f32'))
    .option(
      '--tower <directory>',
      'where the vision towers are, in the order of the config; of a model in GGUF its mmproj',
      several,
      [],
    )
    .option('--context <tokens>', 'tokens of prompt and answer together; by default those of `run`')
    .option('--images <count>', 'pictures of one question; by default 1')
    .addOption(weightsOption())
    .addOption(quantizeOption())
    .addOption(keepOption())
    .addOption(connectorsOption())
    .option(
      '--device <name>',
      `memory is that of plans for one of ${Object.keys(devices).join(', ')}; by default for the device at hand, which it must fit, or desktop where there is none`,
    )
    .option('--json', 'print one JSON object')
    .action(async (model: string, flags: CheckFlags) => {
      const here = flags.device === undefined ? await deviceAtHand() : undefined;
      const checked = await checkModel(model, {
        ...storageOf(flags, 'f32'),
        towers: flags.tower.length === 0 ? undefined : flags.tower,
        connectors: await ownConnectors(flags),
        context: flags.context === undefined ? undefined : whole('--context', flags.context),
        images: flags.images === undefined ? undefined : whole('--images', flags.images),
        profile: here?.profile ?? deviceNamed(flags.device ?? 'desktop').profile,
        limit: here?.limit,
        note: tell,
      });
      say(flags.json === true ? JSON.stringify(checked, null, 2) : printChecked(checked));
      if (!checked.ok) process.exitCode = 1;
    });
}
