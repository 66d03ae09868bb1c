// `opabinia quantize DIR --out DIR`: a model directory with its matrices in 4 or 8 bits.
import { Option, type Command } from 'commander';
import { quantizeModel } from '../pipelines/quantize/quantize-model.ts';
import { printBytes } from '../runtime/device/memory-budget.ts';
import { plural } from '../dsl/text/plural.ts';
import { interruptible } from './interruptible.ts';
import { whole } from './options.ts';
import { say } from './output.ts';
import { keepOption, quantizeOption } from './weights-options.ts';

interface Flags {
  readonly out: string;
  readonly weights: 'q4' | 'q8';
  readonly group: string;
  readonly quantize?: readonly string[];
  readonly keep?: readonly string[];
}

/** Adds the command to the program. Ctrl-C leaves nothing of what was begun. */
export function addQuantize(program: Command): void {
  program
    .command('quantize')
    .description('write a model directory again with its matrices in 4 or 8 bits, as MLX packs them')
    .argument('<model>', 'a Hugging Face directory, or owner/name in the cache')
    .requiredOption('--out <directory>', 'a folder that is not there yet')
    .addOption(new Option('--weights <format>', 'bits of an element').choices(['q4', 'q8']).default('q4'))
    .option('--group <elements>', 'that share a scale and a bias', '64')
    .addOption(quantizeOption())
    .addOption(keepOption())
    .action(async (model: string, flags: Flags) => {
      const command = {
        format: flags.weights,
        out: flags.out,
        group: whole('--group', flags.group),
        only: flags.quantize,
        except: flags.keep,
      };
      const { matrices, tensors, bytes, towers } = await interruptible((signal) =>
        quantizeModel(model, { ...command, signal }),
      );
      say(`${matrices} of ${plural(tensors, 'tensor')} quantized; ${printBytes(bytes)} of weights in ${flags.out}`);
      if (towers > 0) say(`${plural(towers, 'tower')} copied as ${towers === 1 ? 'it is' : 'they are'}`);
    });
}
