// `opabinia plan cambrian-8b`: a released model at full size, or a model directory, compiled without weights and without a GPU.
import { Option, type Command } from 'commander';
import { OpabiniaError } from '../dsl/error.ts';
import { deviceNamed, devices } from '../compiler/devices.ts';
import { releasedCambrian } from '../models/configs/released.ts';
import { isReleased, planDirectory, planModel, releasedModel, type PlanOptions } from '../pipelines/plan/plan-model.ts';
import {
  cambrianSubject,
  planTraining,
  printTraining,
  subjectOf,
  type TrainingPlanOptions,
} from '../pipelines/plan/plan-training.ts';
import { plannedJson, printPlanned } from '../pipelines/plan/print-planned.ts';
import { refuseIdle, several, whole } from './options.ts';
import { ofDirectories, ofReleased } from './released-options.ts';
import {
  dtypeOption,
  keepOption,
  quantizeOption,
  storageOf,
  weightsOption,
  type StorageFlags,
} from './weights-options.ts';
import { say, tell } from './output.ts';
import { connectorsOption, ownConnectors, type ConnectorsFlags } from './own-connectors.ts';

interface Flags extends ConnectorsFlags, StorageFlags {
  readonly tower: readonly string[];
  readonly context: string;
  readonly prompt?: string;
  readonly images: string;
  readonly json?: true;
  readonly device: string;
  readonly train?: '1' | '2';
  readonly length: string;
  readonly batch: string;
  readonly unfreezeTowers?: true;
  readonly gradientCheckpointing?: true;
}

/** Options that one way of planning reads and the other does not. */
const ofTraining = ['length', 'batch', 'unfreezeTowers', 'gradientCheckpointing'];
const ofAnswering = ['weights', 'quantize', 'keep', 'tower', 'context', 'prompt', 'images'];

export function addPlan(program: Command): void {
  program
    .command('plan')
    .description('compile a model at full size, without a GPU and without reading weights, and print what it costs')
    .argument('<model>', `${Object.keys(releasedCambrian).join(', ')}, a model directory, or a .gguf file`)
    .addOption(dtypeOption('f16'))
    .addOption(weightsOption())
    .addOption(quantizeOption())
    .addOption(keepOption())
    .addOption(connectorsOption())
    .option(
      '--tower <directory>',
      'where the vision towers are, in the order of the config; of a model in GGUF its mmproj',
      several,
      [],
    )
    .option('--context <tokens>', 'tokens that the cache holds', '2048')
    .option(
      '--prompt <tokens>',
      'tokens of the prompt, image tokens included; by default 700, or what the context has room for',
    )
    .option('--images <count>', 'images in the prompt', '1')
    .option('--device <name>', `${Object.keys(devices).join(', ')}`, 'desktop')
    .addOption(
      new Option('--train <stage>', 'a training step of this stage of its recipe, instead of answering').choices([
        '1',
        '2',
      ]),
    )
    .option('--length <tokens>', 'of a sequence, with --train', '2048')
    .option('--batch <count>', 'sequences at once, with --train', '1')
    .option('--unfreeze-towers', 'the towers of an assembled model learn too, with --train')
    .option('--gradient-checkpointing', 'layers of the language model are computed again backwards, with --train')
    .option('--json', 'print the figures as JSON')
    .action(async (model: string, flags: Flags, command: Command) => {
      if (flags.train === undefined)
        refuseIdle(command, ofTraining, { where: 'without --train', advice: 'give --train 1 or 2' });
      else refuseIdle(command, ofAnswering, { where: 'with --train', advice: 'plan answers without --train' });
      if (isReleased(model)) refuseIdle(command, ofDirectories, ofReleased);
      const connectors = await ownConnectors(flags);
      if (flags.train !== undefined) {
        const training: TrainingPlanOptions = {
          stage: flags.train === '1' ? 1 : 2,
          dtype: flags.dtype ?? 'f16',
          length: whole('--length', flags.length),
          batch: whole('--batch', flags.batch),
          unfreezeTowers: flags.unfreezeTowers,
          gradientCheckpointing: flags.gradientCheckpointing,
          connectors,
          profile: deviceNamed(flags.device).profile,
        };
        const subject = isReleased(model)
          ? cambrianSubject(releasedModel(model).model, training)
          : await subjectOf(model, training);
        const planned = planTraining(subject, training);
        const { plan, flops, learned, frozen } = planned;
        say(
          flags.json === true
            ? JSON.stringify(
                { memory: plan.memory, frozen, flops, learned, dispatches: plan.dispatches.length },
                null,
                2,
              )
            : printTraining(planned, training),
        );
        return;
      }
      const context = whole('--context', flags.context);
      const options: PlanOptions = {
        context,
        prompt: promptOf(flags, context),
        images: whole('--images', flags.images),
        ...storageOf(flags, 'f16'),
        towers: flags.tower.length === 0 ? undefined : flags.tower,
        connectors,
        profile: deviceNamed(flags.device).profile,
      };
      const planned = isReleased(model) ? planModel(model, options, tell) : await planDirectory(model, options, tell);
      say(flags.json === true ? JSON.stringify(plannedJson(planned), null, 2) : printPlanned(planned, options));
    });
}

/** Tokens of the prompt. Throws `OpabiniaError` where the context has no room behind it. */
function promptOf({ prompt }: Flags, context: number): number {
  if (prompt === undefined) return Math.max(1, Math.min(700, context - 1));
  const tokens = whole('--prompt', prompt);
  if (tokens < context) return tokens;
  throw new OpabiniaError(`--prompt ${tokens} leaves no room for an answer in --context ${context}`, {
    op: 'plan',
    advice: 'give a longer context or a shorter prompt',
  });
}
