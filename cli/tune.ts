// `opabinia tune [MODEL]`: the fastest tiles for the heaviest kernels of a model on this device, kept for the next time that it is opened.
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { formatTable } from '../dsl/text/table.ts';
import { tuneModel, type TunedModel } from '../pipelines/tune/tune-model.ts';
import { openDevice } from '../runtime/device/dawn.ts';
import { refuseIdle, several, whole } from './options.ts';
import { checkOutput } from './output-file.ts';
import { say, tell } from './output.ts';
import { connectorsOption, ownConnectors, type ConnectorsFlags } from './own-connectors.ts';
import { ofDirectories, ofReleased } from './released-options.ts';
import {
  dtypeOption,
  keepOption,
  quantizeOption,
  storageOf,
  weightsOption,
  type StorageFlags,
} from './weights-options.ts';
import { plural } from '../dsl/text/plural.ts';

interface TuneFlags extends ConnectorsFlags, StorageFlags {
  readonly tower: readonly string[];
  readonly context?: string | undefined;
  readonly images: string;
  readonly kernels: string;
  readonly tries: string;
  readonly out?: string | undefined;
  readonly json?: true | undefined;
}

export function addTune(program: Command): void {
  program
    .command('tune')
    .description(
      'measure tiles of the heaviest kernels on this device and keep the fastest; results stay the same, bit for bit',
    )
    .argument(
      '[model]',
      'a model directory, a .gguf file, owner/name in the cache, or a released Cambrian',
      'cambrian-8b',
    )
    .addOption(dtypeOption('f32, of a released model f16'))
    .addOption(weightsOption())
    .addOption(quantizeOption())
    .addOption(keepOption())
    .addOption(connectorsOption())
    .option('--tower <directory>', 'where the vision towers are, in the order of the config', several, [])
    .option('--context <tokens>', 'tokens of prompt and answer together, as `run` has them (default: 2048)')
    .option('--images <count>', 'pictures of one question', '1')
    .option('--kernels <count>', 'distinct kernels at most, those that take longest first', '12')
    .option('--tries <count>', 'tiles to measure of each, besides the usual one', '4')
    .option('--out <file>', 'where to keep them instead of the cache; OPABINIA_TUNING=FILE reads it')
    .option('--json', 'print all measurements as JSON')
    .action(async (model: string, flags: TuneFlags, command: Command) => {
      const { isReleased } = await import('../pipelines/plan/plan-model.ts');
      if (isReleased(model)) refuseIdle(command, ofDirectories, ofReleased);
      const inputs = [model, ...flags.tower].flatMap(textsOf);
      checkOutput('--out', flags.out, { op: 'tune', endings: ['.json'], inputs });
      storageOf(flags, 'f32');
      const device = await openDevice({ tuning: 'off' });
      try {
        const f16 = device.facts.features.includes('shader-f16');
        const tuned = await tuneModel(model, device, {
          ...storageOf(flags, f16 && isReleased(model) ? 'f16' : 'f32'),
          towers: flags.tower.length === 0 ? undefined : flags.tower,
          connectors: await ownConnectors(flags),
          context: flags.context === undefined ? undefined : whole('--context', flags.context),
          images: whole('--images', flags.images),
          kernels: whole('--kernels', flags.kernels),
          tries: whole('--tries', flags.tries),
          out: flags.out,
          note: tell,
        });
        say(flags.json === true ? JSON.stringify(tuned, undefined, 2) : printTuned(tuned));
        tell(`kept in ${tuned.path}`);
      } finally {
        device.close();
      }
    });
}

/** What of a model directory could be taken for a file of tiles. */
function textsOf(directory: string): readonly string[] {
  if (statSync(directory, { throwIfNoEntry: false })?.isDirectory() !== true) return [];
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' });
  return names.filter((name) => name.endsWith('.json')).map((name) => join(directory, name));
}

/** What was found, the heaviest kernel first. */
export function printTuned({ kernels }: TunedModel): string {
  if (kernels.length === 0) return 'no kernel of this model leaves a tile to choose';
  const better = kernels.filter(({ usual, chosen }) => usual.tile !== chosen.tile).length;
  const milliseconds = (value: number): string => value.toPrecision(3);
  return `${formatTable(
    [
      { title: 'kernel' },
      { title: 'e.g. in' },
      { title: 'times', align: 'right' },
      { title: 'usual tile' },
      { title: 'ms', align: 'right' },
      { title: 'fastest tile' },
      { title: 'ms', align: 'right' },
    ],
    kernels.map(({ key, path, times, usual, chosen }) => [
      key,
      path,
      String(times),
      usual.tile,
      milliseconds(usual.milliseconds),
      chosen.tile === usual.tile ? 'the same' : chosen.tile,
      milliseconds(chosen.milliseconds),
    ]),
  )}\n\nanother tile than usual in ${better} of ${plural(kernels.length, 'kernel')}`;
}
