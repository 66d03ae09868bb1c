// `opabinia plan cambrian-8b`: a released model at full size, compiled without weights and without a GPU.
import { Option, type Command } from 'commander';
import { deviceNamed, devices } from '../compiler/devices.ts';
import { releasedCambrian } from '../models/configs/released.ts';
import { planModel, type PlanOptions } from '../pipelines/plan/plan-model.ts';
import { plannedJson, printPlanned } from '../pipelines/plan/print-planned.ts';
import { whole } from './options.ts';

interface Flags {
  readonly dtype: 'f32' | 'f16';
  readonly context: string;
  readonly prompt: string;
  readonly images: string;
  readonly json?: true;
  readonly device: string;
}

export function addPlan(program: Command): void {
  program
    .command('plan')
    .description('compile a released model at full size, without weights or a GPU, and print what it costs')
    .argument('<model>', `${Object.keys(releasedCambrian).join(', ')}`)
    .addOption(
      new Option('--dtype <dtype>', 'storage of weights and activations').choices(['f32', 'f16']).default('f16'),
    )
    .option('--context <tokens>', 'tokens that the cache holds', '2048')
    .option('--prompt <tokens>', 'tokens of the prompt, image tokens included', '700')
    .option('--images <count>', 'images in the prompt', '1')
    .option('--device <name>', `${Object.keys(devices).join(', ')}`, 'desktop')
    .option('--json', 'print the figures as JSON')
    .action((model: string, flags: Flags) => {
      const options: PlanOptions = {
        dtype: flags.dtype,
        context: whole('--context', flags.context),
        prompt: whole('--prompt', flags.prompt),
        images: whole('--images', flags.images),
        profile: deviceNamed(flags.device).profile,
      };
      const planned = planModel(model, options, (what) => console.error(what));
      console.log(flags.json === true ? JSON.stringify(plannedJson(planned), null, 2) : printPlanned(planned, options));
    });
}
