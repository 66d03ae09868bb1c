// `opabinia export MODEL --onnx OUT`: graphs as ONNX models.
import type { Command } from 'commander';
import { exportModels, type ExportCommand } from '../pipelines/export/export-models.ts';
import { printExported } from '../pipelines/export/print-exported.ts';
import { refuseIdle, whole } from './options.ts';
import { say } from './output.ts';
import { connectorsOption, ownConnectors, type ConnectorsFlags } from './own-connectors.ts';

/** Adds the command to the program. */
export function addExport(program: Command): void {
  const number = (option: string) => (text: string) => whole(option, text);
  program
    .command('export')
    .description('write graphs as ONNX models')
    .argument('<model>', 'FILE.ts, a model directory, or owner/name[@revision] in the cache')
    .requiredOption('--onnx <out>', 'the .onnx file to write; with several graphs, their names go before its extension')
    .option('--plain', 'elementary operators only; by default composites are what ONNX Runtime has fused kernels for')
    .option(
      '--graph <name>',
      'one graph: of a language model prefill or decode, of Cambrian and LLaVA vision too, of a tower features',
    )
    .option(
      '--dtype <dtype>',
      'of parameters and activations: f32 or f16; stored weights of another dtype are cast in the graph',
      'f32',
    )
    .option('--batch <n>', 'prompts at once', number('--batch'))
    .option('--context <n>', 'tokens that the cache holds', number('--context'))
    .option('--prompt <n>', 'tokens of the longest prompt', number('--prompt'))
    .option('--images <n>', 'pictures in all prompts together', number('--images'))
    .addOption(connectorsOption())
    .addHelpText(
      'after',
      `
FILE.ts exports graphs, or functions without parameters whose name contains «graph» and that give one, and as \`params\` the source of
their parameters (default: randomParams(0)): export const params = randomParams(1); export const graph = trace(params, (t) => …)
States are inputs of their own name and outputs NAME.next. A symbol that no input's shape shows is an input (int64, no axes).
Weights of a directory stay in its safetensors files; where OUT lies outside of it, they get a second name (a hard link) beside OUT.`,
    )
    .action(async (model: string, options: Omit<ExportCommand, 'connectors'> & ConnectorsFlags, command: Command) => {
      if (/\.[cm]?[jt]s$/.test(model))
        refuseIdle(command, ['dtype', 'batch', 'context', 'prompt', 'images', 'connectors'], {
          where: 'of a file of graphs, which says all of that itself',
          advice: 'change the file',
        });
      say(printExported(await exportModels(model, { ...options, connectors: await ownConnectors(options) })));
    });
}
